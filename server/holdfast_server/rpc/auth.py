"""Who calls: the check of tokens and of roles, and the identity that calls carry on.

Without tokens there is no interceptor, so that nothing is paid. Health answers without a
token, since what probes a server seldom holds one. What the interceptor has admitted is
kept for the task of the RPC, in which its handler runs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import grpc

from holdfast_server.core import errors
from holdfast_server.core.auth import NOBODY, Identity, certificate_identity
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.roles import check_wide, role_of_rpc
from holdfast_server.core.tokens import Tokens, bearer
from holdfast_server.runtime.calls import Calls

Context = grpc.aio.ServicerContext[Any, Any]
Identify = Callable[[Context], Identity]
Abort = Callable[[Context, Exception], Awaitable[None]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_HEALTH: Final = "/grpc.health.v1.Health/"
NO_LONGER: Final = "the token is no longer accepted"


class Admission:
    """An RPC that was let in: by which token, and what it used of what that allows."""

    __slots__ = ("holds", "identity", "namespaces", "path", "token")

    def __init__(self, path: str, token: str, identity: Identity, holds: Holds) -> None:
        self.holds = holds
        self.path = path
        self.token = token
        self.identity = identity
        self.namespaces: set[str] = set()

    def check_namespace(self, name: str) -> None:
        """FORBIDDEN for a namespace that is none of the caller's."""
        self.identity.check_namespace(name)
        self.namespaces.add(name)


_ADMITTED: ContextVar[Admission | None] = ContextVar("admitted", default=None)


def admitted() -> Admission | None:
    """How the RPC of this task was let in; None where tokens are not checked."""
    return _ADMITTED.get()


def token_of(metadata: Iterable[Any]) -> str | None:
    """The bearer token in an RPC's metadata; None also where there are two, of which others
    on the way may have looked at the one that we do not."""
    found = [value for name, value in metadata if name == "authorization"]
    return bearer(found[0]) if len(found) == 1 and isinstance(found[0], str) else None


def refusal() -> HoldfastError:
    """What a caller hears whose token is not accepted."""
    return HoldfastError(errors.UNAUTHENTICATED)


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses every RPC without an accepted token, unknown methods included, and every one
    that the token's role does not allow."""

    def __init__(self, tokens: Tokens, holds: Holds, abort: Abort) -> None:
        self._tokens = tokens
        self._holds = holds
        self._abort = abort
        self._refused = self._refusing(refusal())

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        details, admission = handler_call_details, None
        path = str(details.method)
        if not path.startswith(_HEALTH):
            token = token_of(details.invocation_metadata or ())
            identity = None if token is None else self._tokens.identify(token)
            if token is None or identity is None:
                return self._refused
            try:
                identity.check_role(role_of_rpc(path), path.rpartition("/")[2])
                check_wide(identity, path)
            except HoldfastError as error:
                return self._refusing(error)
            admission = Admission(path, token, identity, self._holds)
        _ADMITTED.set(admission)
        return await continuation(details)

    def _refusing(self, error: HoldfastError) -> Handler:
        """Answers a call of any kind, before it has sent anything."""

        async def refuse(_: Any, context: Context) -> None:
            await self._abort(context, error)

        return grpc.stream_stream_rpc_method_handler(refuse)


class Holds:
    """Streams that end when what let them in does not any more."""

    def __init__(self, tokens: Tokens, calls: Calls, loop: asyncio.AbstractEventLoop) -> None:
        self._tokens = tokens
        self._calls = calls
        self._loop = loop
        self._held: dict[asyncio.Task[object], Admission] = {}
        self._timers: dict[asyncio.Task[object], asyncio.TimerHandle] = {}
        tokens.watch(self._recheck_all)

    def hold(self, task: asyncio.Task[object], admission: Admission) -> None:
        """Watch the stream of a task until `release`."""
        self._held[task] = admission
        self._arm(task, admission.identity)

    def release(self, task: asyncio.Task[object]) -> None:
        """The stream has ended."""
        self._held.pop(task, None)
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()

    def _arm(self, task: asyncio.Task[object], identity: Identity) -> None:
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()
        left_s = self._tokens.left_s(identity)
        if left_s is not None:
            self._timers[task] = self._loop.call_later(left_s, self._recheck, task)

    def _recheck_all(self) -> None:
        for task in list(self._held):
            self._recheck(task)

    def _recheck(self, task: asyncio.Task[object]) -> None:
        admission = self._held.get(task)
        if admission is None:
            return
        identity = self._tokens.identify(admission.token)
        try:
            if identity is None or identity.caller != admission.identity.caller:
                raise HoldfastError(errors.UNAUTHENTICATED, NO_LONGER)
            identity.check_role(role_of_rpc(admission.path), admission.path.rpartition("/")[2])
            for name in admission.namespaces:
                identity.check_namespace(name)
        except HoldfastError as error:
            self.release(task)
            self._calls.end(task, error)
            return
        self._arm(task, identity)


def by_token(_: Context) -> Identity:
    """The caller is whom the token stands for, as the interceptor has found."""
    admission = _ADMITTED.get()
    if admission is None:
        raise refusal()
    return admission.identity


def anonymous(_: Context) -> Identity:
    """Nobody is asked."""
    return NOBODY


# Whoever should have a certificate, and has none: nothing can belong to them.
NAMELESS: Final = Identity(caller=b"")


def by_certificate(context: Context) -> Identity:
    """The caller is the name in the client's certificate."""
    key, names = context.peer_identity_key(), context.peer_identities()
    if not key or not names:
        # Neither a common nor an alternative name: the certificate itself.
        key, names = "x509_pem_cert", context.auth_context().get("x509_pem_cert")
    if not key or not names:
        return NAMELESS
    return certificate_identity(
        key, [name.encode() if isinstance(name, str) else name for name in names]
    )
