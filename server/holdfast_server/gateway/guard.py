"""Who may use the gateway: by the page a request is from, the name it calls us, its token.

Everything here is decided by headers alone, before anything of a request is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.auth import Identity
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.origins import Origins
from holdfast_server.core.roles import check_wide, role_of_endpoint
from holdfast_server.core.tokens import Tokens
from holdfast_server.gateway.connect.certificate import identity_of

METHODS: Final = "GET, POST, PUT, DELETE, OPTIONS, PATCH, HEAD"
_PREFLIGHT_S: Final = "86400"
_EXPOSED: Final = (
    "x-rivet-ray-id, x-rivet-error, retry-after, content-encoding, connect-content-encoding, "
    "trailer-holdfast-reason, *"
)


class Guard:
    """The rules of one gateway; `tokens` is None where none are checked."""

    def __init__(self, origins: Origins, tokens: Tokens | None) -> None:
        self._origins = origins
        self._tokens = tokens

    def check_page(self, headers: Mapping[str, str]) -> None:
        """FORBIDDEN for a page that may not use this server, and for a name that any page
        could have given to this machine."""
        host, origin = headers.get("host"), headers.get("origin")
        if not self._origins.accepts_host(host):
            raise HoldfastError(
                errors.FORBIDDEN,
                f"the host {(host or '')[:128]!r} is not of this machine; the setting cors_origins "
                "names others, and with a token every host is accepted",
                metadata={"field": "host"},
            )
        if not self._origins.accepts_origin(origin, host):
            raise HoldfastError(
                errors.FORBIDDEN,
                f"pages of {(origin or '')[:128]!r} may not use this server; the setting "
                "cors_origins names those that may",
                metadata={"field": "origin"},
            )

    @property
    def checks(self) -> bool:
        """Whether tokens are asked for."""
        return self._tokens is not None

    def identify(
        self, shown: Iterable[str | None], transport: asyncio.BaseTransport | None
    ) -> Identity | None:
        """Whom the first accepted token that a request shows stands for; without tokens, whom
        its certificate names."""
        if self._tokens is None:
            return identity_of(transport)
        for token in shown:
            identity = self._tokens.identify(token) if token else None
            if identity is not None:
                return identity
        return None

    def left_s(self, identity: Identity) -> float | None:
        """Seconds until an identity expires; None when it does not."""
        return None if self._tokens is None else self._tokens.left_s(identity)

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever other tokens are accepted."""
        if self._tokens is not None:
            self._tokens.watch(tell)

    def authorize(
        self,
        shown: Iterable[str | None],
        operation: str,
        transport: asyncio.BaseTransport | None,
    ) -> Identity:
        """Who asks for an operation; UNAUTHENTICATED without an accepted token, FORBIDDEN
        where its role does not do."""
        identity = self.identify(shown, transport)
        if identity is None:
            raise HoldfastError(errors.UNAUTHENTICATED)
        identity.check_role(role_of_endpoint(operation), operation)
        check_wide(identity, operation)
        return identity


def namespace_of(target: Target) -> str | None:
    """The namespace that a target is in; None for an id of which that is not known."""
    return target.namespace if target.address is None else target.address.namespace


class Lease:
    """What lets a WebSocket stay open: `end` is called once with the reason when the tokens
    that its client has shown do not any more, being withdrawn, narrowed or expired."""

    def __init__(
        self,
        guard: Guard,
        shown: Sequence[str | None],
        operation: str,
        identity: Identity,
        transport: asyncio.BaseTransport | None,
        end: Callable[[HoldfastError], None],
    ) -> None:
        self.identity = identity
        # Of the actor, once it is known.
        self.namespace: str | None = None
        self._guard = guard
        self._shown = shown
        self._operation = operation
        self._transport = transport
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def recheck(self) -> None:
        """Other tokens are accepted, or its own may have expired."""
        try:
            identity = self._guard.identify(self._shown, self._transport)
            if identity is None or identity.caller != self.identity.caller:
                raise HoldfastError(errors.UNAUTHENTICATED, "the token is no longer accepted")
            identity.check_role(role_of_endpoint(self._operation), self._operation)
            identity.check_namespace(self.namespace or "")
        except HoldfastError as error:
            self.close()
            self._end(error)
            return
        self.identity = identity
        self._arm()

    def close(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.close()
        left_s = self._guard.left_s(self.identity)
        if left_s is not None:
            self._timer = asyncio.get_running_loop().call_later(left_s, self.recheck)


def cors_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What lets a page read a response; only for one that `Guard.check_page` has passed."""
    origin = headers.get("origin")
    if origin is None:
        return {"vary": "Origin"}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        # With credentials a star is a name like any other, so names are given too.
        "access-control-expose-headers": _EXPOSED,
        "vary": "Origin",
    }


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What a browser must hear before it sends a request of this page."""
    allowed = {"access-control-allow-methods": METHODS, "access-control-max-age": _PREFLIGHT_S}
    asked = headers.get("access-control-request-headers")
    if asked:
        allowed["access-control-allow-headers"] = asked
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return allowed
