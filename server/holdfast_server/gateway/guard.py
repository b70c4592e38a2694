"""Who may use the gateway: by the page a request is from, the name it calls us, its token.

Everything here is decided by headers alone, before anything of a request is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.origins import Origins
from holdfast_server.core.tokens import Tokens

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

    def admits(self, shown: Iterable[str | None]) -> bool:
        """Whether one of the tokens that a request shows is accepted."""
        if self._tokens is None:
            return True
        return any(token and self._tokens.caller(token) is not None for token in shown)

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever other tokens are accepted."""
        if self._tokens is not None:
            self._tokens.watch(tell)

    def check_token(self, shown: Iterable[str | None]) -> None:
        """UNAUTHENTICATED unless `admits`."""
        if not self.admits(shown):
            raise HoldfastError(errors.UNAUTHENTICATED)


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
