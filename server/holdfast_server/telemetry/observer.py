"""What runtime and rpc tell of themselves while they work; by default nobody listens.

Every method has a default that does nothing, so an observer overrides what it
cares for, and the runtime needs no test whether there is one. Of every turn it
hears `turn_began`, then `turn_failed` if it failed, then `turn_ended`. An
observer that puts something into `turn.span` also hears the rest; of turns that
nobody watches the runtime tells no more, since that would cost time.

Methods are called on the loop, must not block and must not raise.
"""

from __future__ import annotations

from typing import Final, Protocol

from holdfast_server.core.ids import Address
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import Cause, TraceContext


class ObservedTurn(Protocol):
    """What an observer may know of a turn; it sets only `trace` and `span`."""

    @property
    def address(self) -> Address: ...
    @property
    def action(self) -> str:
        """The action, or a name with "$" for what is none."""
        ...

    @property
    def cause(self) -> Cause: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def actor_id(self) -> bytes:
        """Empty until the handler is entered."""
        ...

    @property
    def creating(self) -> bool:
        """Whether this turn makes the actor."""
        ...

    # At first what caused the turn; then what it passes on.
    trace: TraceContext
    # The observer's own.
    span: object


class Observer:
    """Hears of turns and commits."""

    __slots__ = ()

    def turn_began(self, turn: ObservedTurn) -> None:
        """A turn asks for its actor."""

    def turn_failed(self, turn: ObservedTurn, error: BaseException) -> None:
        """The turn ends with `error`; it may not have had the actor at all."""

    def turn_ended(self, turn: ObservedTurn) -> None:
        """The turn has left its actor; what it did may not be durable yet."""

    def work_failed(self, address: Address, work: str, error: BaseException) -> None:
        """Work of an actor outside its turns has raised: `work` is "run", "keep_awake"
        or "wait_until"."""

    # Of turns with a span

    def turn_admitted(self, turn: ObservedTurn, waited_s: float) -> None:
        """The turn has its actor, for which it had to wait."""

    def turn_entered(self, turn: ObservedTurn) -> object:
        """Code of the actor runs from now on; the result goes to `turn_left`."""

    def turn_left(self, turn: ObservedTurn, entered: object) -> None:
        """Code of the actor runs no more, or waits to be entered again."""

    def passed_on(self, turn: ObservedTurn) -> TraceContext:
        """The context for what the turn's code, as it runs now, calls or sends."""
        return turn.trace

    def commit_began(self, turn: ObservedTurn, writes: int, size: int) -> object:
        """The turn has submitted a batch of `size` bytes; the result, unless None,
        goes to `commit_ended`."""

    def commit_ended(self, commit: object, group: int, error: BaseException | None) -> None:
        """The batch is durable, together with the rest of its group; with an
        error, nobody knows whether it is."""


SILENT: Final = Observer()


class RpcSpan(Protocol):
    """One RPC that is being observed."""

    @property
    def trace(self) -> TraceContext:
        """What the turns of this RPC come from."""
        ...

    def ended(self, status: str, *, replayed: bool = False) -> None:
        """The RPC was answered with this status, the name of a gRPC code."""
        ...


class RpcObserver(Protocol):
    """Hears of RPCs."""

    def rpc_began(self, method: str, trace: TraceContext, peer: str) -> RpcSpan | None:
        """`method` is "/service/method", `trace` what the caller sent. None when
        this RPC is not observed: then that context stands."""
        ...
