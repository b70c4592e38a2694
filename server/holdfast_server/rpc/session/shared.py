"""What all sessions of a process share: the node, the limits, and who may speak."""

from __future__ import annotations

from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.auth import Identity
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.core.roles import role_of_rpc
from holdfast_server.core.tokens import Tokens
from holdfast_server.core.trace import TraceContext
from holdfast_server.rpc.auth import NO_LONGER
from holdfast_server.rpc.convert import Converter
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.telemetry.observer import RpcObserver, RpcSpan

OPEN_SESSION: Final = "/holdfast.v1.SessionService/OpenSession"


class Shared:
    """Held by every session. `tokens` is None where none are checked, `rpcs` where
    nobody traces."""

    __slots__ = ("calls", "convert", "limits", "message_bytes_max", "node", "rpcs", "tokens")

    def __init__(
        self,
        node: Node,
        converter: Converter,
        limits: Limits,
        calls: Calls,
        *,
        message_bytes_max: int,
        tokens: Tokens | None,
        rpcs: RpcObserver | None,
    ) -> None:
        self.node = node
        self.convert = converter
        self.limits = limits
        self.calls = calls
        self.message_bytes_max = message_bytes_max
        self.tokens = tokens
        self.rpcs = rpcs

    def identify(self, token: str | None, known: Identity, namespace: str) -> Identity:
        """What a token of a known caller stands for, now; where none are checked, the same.

        UNAUTHENTICATED when it is not accepted, or stands for another caller, FORBIDDEN when
        that caller may not use the namespace any more.
        """
        if self.tokens is None:
            return known
        identity = None if token is None else self.tokens.identify(token)
        if identity is None or identity.caller != known.caller:
            raise HoldfastError(errors.UNAUTHENTICATED, NO_LONGER)
        identity.check_role(role_of_rpc(OPEN_SESSION), "OpenSession")
        identity.check_namespace(namespace)
        return identity

    def left_s(self, identity: Identity) -> float | None:
        """Seconds until an identity expires; None when it does not."""
        return None if self.tokens is None else self.tokens.left_s(identity)

    def begin_span(self, method: str, trace: TraceContext, peer: str) -> RpcSpan | None:
        """The span of a call: the same as that of its RPC."""
        return None if self.rpcs is None else self.rpcs.rpc_began(method, trace, peer)
