"""What all sessions of a process share: the node, the limits, and who may speak."""

from __future__ import annotations

from holdfast_server.core.limits import Limits
from holdfast_server.core.tokens import Tokens
from holdfast_server.core.trace import TraceContext
from holdfast_server.rpc.convert import Converter
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.telemetry.observer import RpcObserver, RpcSpan


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

    def accepts(self, token: str | None, caller: bytes) -> bool:
        """Whether a token stands for this caller, now; where none are checked, any."""
        if self.tokens is None:
            return True
        return token is not None and self.tokens.caller(token) == caller

    def begin_span(self, method: str, trace: TraceContext, peer: str) -> RpcSpan | None:
        """The span of a call: the same as that of its RPC."""
        return None if self.rpcs is None else self.rpcs.rpc_began(method, trace, peer)
