"""Who calls: the check of tokens, and the caller that stored replies belong to.

Without tokens there is no interceptor, so that nothing is paid. Health answers
without a token, since what probes a server seldom holds one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

import grpc

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.tokens import Tokens, bearer, caller_id
from holdfast_server.rpc.guard import Context, abort

Callers = Callable[[Context], bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_HEALTH: Final = "/grpc.health.v1.Health/"


def token_of(metadata: Iterable[Any]) -> str | None:
    """The bearer token in an RPC's metadata."""
    for name, value in metadata:
        if name == "authorization" and isinstance(value, str):
            return bearer(value)
    return None


def _refusal() -> HoldfastError:
    return HoldfastError(errors.UNAUTHENTICATED)


async def _refuse(_: Any, context: Context) -> None:
    await abort(context, _refusal())


# Answers a call of any kind, before it has sent anything.
_REFUSED: Final[Handler] = grpc.stream_stream_rpc_method_handler(_refuse)


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses every RPC without an accepted token, unknown methods included."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        details = handler_call_details
        if not str(details.method).startswith(_HEALTH):
            token = token_of(details.invocation_metadata or ())
            if token is None or self._tokens.caller(token) is None:
                return _REFUSED
        return await continuation(details)


def by_token(tokens: Tokens) -> Callers:
    """The caller is whom the token stands for."""

    def caller(context: Context) -> bytes:
        token = token_of(context.invocation_metadata() or ())
        found = tokens.caller(token) if token is not None else None
        if found is None:
            # The tokens were changed after the check.
            raise _refusal()
        return found

    return caller


def by_certificate(context: Context) -> bytes:
    """The caller is the name in the client's certificate."""
    key, names = context.peer_identity_key(), context.peer_identities()
    if not key or not names:
        # Neither a common nor an alternative name: the certificate itself.
        key, names = "x509_pem_cert", context.auth_context().get("x509_pem_cert")
    if not names:
        raise _refusal()
    parts = sorted(name.encode() if isinstance(name, str) else name for name in names)
    return caller_id("certificate", key.encode(), *parts)
