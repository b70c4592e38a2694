"""What the runtime asks of a runner: the place where actor code runs.

A runner knows actor classes and makes instances. An instance holds one actor's
live state and runs handlers; what a handler does reaches the runtime only as
effects of its Turn and as the encoded state that `take_state` returns. A remote
runner differs in nothing but where the handler runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from holdfast_server.core.call import Call
from holdfast_server.core.mailbox import Bounds
from holdfast_server.core.tally import ActorTally, CallTally
from holdfast_server.core.values import Value
from holdfast_server.runtime.connections import Conn
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.requesting import Incoming
    from holdfast_server.runtime.serving import SocketLink


class ActionInfo(Protocol):
    """How an action runs."""

    @property
    def read_only(self) -> bool: ...
    @property
    def interleave(self) -> bool: ...
    @property
    def streaming(self) -> bool: ...
    @property
    def buffered(self) -> bool: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def tally(self) -> CallTally:
        """Where its calls are counted."""
        ...

    @property
    def waits(self) -> bool:
        """Whether `Instance.invoke` may give a coroutine."""
        ...


class ConnectHooks(NamedTuple):
    """Which hooks of connections a class has; `preflight` is on_before_connect or
    create_conn_state."""

    preflight: bool
    on_connect: bool
    on_disconnect: bool


class RawHandlers(NamedTuple):
    """How a class serves raw requests and WebSockets; `timeout_s` is that of each turn."""

    on_request: bool
    on_websocket: bool
    hibernates: bool
    timeout_s: float
    buffered: bool


class ActorInfo(Protocol):
    """What the runtime must know of an actor class."""

    @property
    def name(self) -> str: ...
    @property
    def sleep_timeout_s(self) -> float: ...
    @property
    def state_ttl_s(self) -> float | None: ...
    @property
    def bounds(self) -> Bounds: ...
    @property
    def interleave(self) -> bool: ...
    @property
    def reentrant(self) -> bool: ...
    @property
    def no_sleep(self) -> bool: ...
    @property
    def has_on_sleep(self) -> bool: ...
    @property
    def has_run(self) -> bool: ...
    @property
    def connect_hooks(self) -> ConnectHooks: ...
    @property
    def hibernate_connections(self) -> bool: ...
    @property
    def raw(self) -> RawHandlers: ...
    @property
    def guarded_events(self) -> frozenset[str]:
        """Names of the events that a caller must be allowed to subscribe to."""
        ...

    @property
    def tally(self) -> ActorTally:
        """Where its actors are counted."""
        ...

    @property
    def actions(self) -> Mapping[str, ActionInfo]:
        """All of them by name."""
        ...

    def action(self, name: str) -> ActionInfo:
        """ACTION_NOT_FOUND when there is none."""
        ...

    def find_action(self, name: str) -> ActionInfo | None: ...

    def check_input(self, value: Value | None) -> None:
        """ACTOR_INVALID_INPUT when the input does not fit."""
        ...

    def describe(self) -> Mapping[str, Any]: ...


class StreamRun(Protocol):
    """A streaming action under way; each step runs inside a turn of its own."""

    @property
    def ended(self) -> bool:
        """Whether the handler has ended, so that there is nothing to close."""
        ...

    async def step(self, turn: Turn) -> Value | None:
        """The next item, None at the end."""
        ...

    async def close(self, turn: Turn | None) -> None:
        """Let the handler clean up when its reader has gone; without a turn where
        the actor has gone too."""
        ...


class Instance(Protocol):
    """One actor in memory."""

    def start(
        self, turn: Turn, stored: tuple[int, bytes] | None, value: Value | None, created: bool
    ) -> Awaitable[None]:
        """Create or decode the state, then run the hooks of the start."""
        ...

    def invoke(self, turn: Turn, call: Call) -> Value | Coroutine[Any, Any, Value]:
        """Run an action; a coroutine only if the handler has to be awaited."""
        ...

    def open_stream(self, call: Call) -> StreamRun:
        """Bind a streaming action; nothing of it runs yet."""
        ...

    def take_state(self, turn: Turn) -> tuple[int, bytes] | None:
        """Schema version and encoding of the state, if the turn changed it; the
        encoding is also kept in `turn.encoded`."""
        ...

    def keep_state(self, turn: Turn) -> None:
        """The batch with `turn.encoded` has been submitted: it is now the state."""
        ...

    def rollback(self, turn: Turn) -> None:
        """Forget what `turn` changed since the last `keep_state`."""
        ...

    def can_subscribe(
        self, turn: Turn, name: str, connection: bytes | None
    ) -> Coroutine[Any, Any, bool]:
        """Ask whether a caller, of this connection if it has one, may subscribe to a
        guarded event."""
        ...

    def on_destroy(self, turn: Turn) -> Awaitable[None]:
        """Run the on_destroy hook, then on_disconnect of every connection; failures are
        only logged."""
        ...

    # Connections

    def preflight(self, turn: Turn, params: Value | None) -> Coroutine[Any, Any, bytes]:
        """Run on_before_connect and make the state of a connection; its encoding, empty
        for none."""
        ...

    def first_conn_state(self) -> bytes:
        """The encoded state that every connection begins with; empty for none."""
        ...

    def on_connect(self, turn: Turn, conn: Conn) -> Coroutine[Any, Any, None]:
        """Run the hook, if there is one."""
        ...

    def on_disconnect(self, turn: Turn, conn: Conn) -> Coroutine[Any, Any, None]:
        """Run the hook, if there is one."""
        ...

    def take_conn_states(self, turn: Turn, used: list[Conn]) -> list[tuple[Conn, bytes]]:
        """The encodings of the states that are no longer `Conn.state`."""
        ...

    # Raw requests and WebSockets

    def on_request(self, course: Course, incoming: Incoming) -> Coroutine[Any, Any, None]:
        """Run the hook, and give `incoming` its answer; in the turns of `course`, the
        first of which is held."""
        ...

    def on_websocket(self, course: Course, link: SocketLink) -> Coroutine[Any, Any, None]:
        """Run the hook, in the turns of `course`, the first of which is held."""
        ...

    def on_sleep(self, turn: Turn) -> Awaitable[None]:
        """Run the on_sleep hook; called only where there is one."""
        ...

    def run(self) -> Coroutine[Any, Any, None]:
        """The `run` of this activation; called only where there is one."""
        ...

    @property
    def state_bytes(self) -> int:
        """Bytes of the encoded state."""
        ...


class Runner(Protocol):
    """Makes instances of the actor classes it knows."""

    def info(self, name: str) -> ActorInfo:
        """ACTOR_NAME_NOT_FOUND when the class is unknown."""
        ...

    def names(self) -> list[str]: ...

    def make(self, activation: Any) -> Instance: ...

    def transcode(self, value: Value, encoding: int) -> Value:
        """The same value in another encoding; VALUE_NOT_ENCODABLE when it has none."""
        ...
