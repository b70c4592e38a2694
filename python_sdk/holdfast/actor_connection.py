"""Connections: what `handle.connect(...)` gives.

    async with room.connect(params={"user": "ada"}) as conn:
        conn.on("message", print)
        await conn.send("hello")
        async for event in conn.events("message"):
            ...

A connection is opened when its block is entered, together with all listeners that are
registered before the block first awaits something, so that they hear also what the actor
says in `on_connect`. It survives what happens to the network and to the server: it goes on
where it was, or is opened anew, and its events go on where they stood.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, cast

from typing_extensions import TypeVar

from holdfast._actions import KnownAction, known_actions
from holdfast._connection_core import ConnectionCore
from holdfast._events import arguments_of
from holdfast._handle import ActorHandle, Callee, RemoteAction, event_names, event_start, slow
from holdfast._transport import Connect
from holdfast.errors import HoldfastError
from holdfast.events import DeliveredEvent, SlowReader

if TYPE_CHECKING:
    from holdfast._session_transport import SessionTransport

A = TypeVar("A", default=Any)
T = TypeVar("T")
Status: TypeAlias = Literal["idle", "connecting", "connected", "disconnected", "closed"]


class Shown(Generic[T]):
    """A value of the connection to be read; an action of the same name may hide it."""

    def __init__(self, read: Callable[[ConnectionCore], T], doc: str) -> None:
        self._read = read
        self.__doc__ = doc

    def __get__(self, instance: ActorConnection[Any], owner: type) -> T:
        return self if instance is None else self._read(instance._core)


class ActorConnection(Callee, Generic[A]):
    """One connection; entered, it has the actions of its actor. See the module.

    `on_open`, `on_close`, `on_error` and `on_status_change` register functions, plain or
    `async`, and give the function that removes them. Where nobody hears of errors they are
    logged; a listener that raises harms nothing but itself.
    """

    def __init__(self, handle: ActorHandle, core: ConnectionCore) -> None:
        self._handle = handle
        self._core = core
        self._cls = handle._cls

    status: Shown[Status] = Shown(
        lambda core: cast(Status, core.status),
        '"idle" before it is entered, "connecting", "connected", "disconnected" while it '
        'cannot be reached, "closed".',
    )
    actor_id: Shown[str | None] = Shown(
        lambda core: core.actor_id, "The id of the actor; None before it is open."
    )
    connection_id: Shown[str | None] = Shown(
        lambda core: core.connection_id, "The id of the connection; None before it is open."
    )

    async def ready(self) -> None:
        """Wait until it is open. Raises ActorError if the actor refuses it."""
        await self._core.ready(self._handle._timeout())

    async def close(self) -> None:
        """Disconnect; does nothing again."""
        await self._core.close()

    def on(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Call `function` with the arguments of each event, and each message to this
        connection, of this name; those of an event that the class declares in their types.
        The first listener of a name subscribes, the last that goes unsubscribes. What this
        returns removes the listener.
        """
        return self._core.on(_name(name), function, slow(slow_reader))

    def once(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """As `on`, for one event."""
        return self._core.on(_name(name), function, slow(slow_reader), once=True)

    def events(
        self,
        *names: str,
        from_sequence: int | None = None,
        slow_reader: SlowReader = "end",
    ) -> AsyncIterator[DeliveredEvent]:
        """The events of these names, of all names when there are none, from now on or from
        a number. Where events are no longer kept it raises EventsTrimmed; iterating again
        goes on from the oldest. Not read, it holds a bounded number of events."""
        return self._core.events(event_names(names), event_start(from_sequence), slow(slow_reader))

    def on_open(self, function: Callable[[], Any], /) -> Callable[[], None]:
        """Call when it is opened, also anew; not when it goes on after a fault."""
        return self._core.on_open.add(function)

    def on_close(self, function: Callable[[], Any], /) -> Callable[[], None]:
        """Call when it is closed for good, by either side."""
        return self._core.on_close.add(function)

    def on_error(self, function: Callable[[Exception], Any], /) -> Callable[[], None]:
        """Call with what fails beside calls: a refusal, a listener, EventsTrimmed, an event
        that does not fit its declared types (DecodeError)."""
        return self._core.on_error.add(function)

    def on_status_change(self, function: Callable[[Status], Any], /) -> Callable[[], None]:
        """Call with each new `status`."""
        return self._core.on_status.add(function)

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
    ) -> ActorConnection[A]:
        """The same connection with options for its calls; see the handle's."""
        changed = self._handle.with_options(
            idempotency_key=idempotency_key, timeout=timeout, encoding=encoding
        )
        return _entered(changed, self._core)

    async def __aenter__(self) -> A:
        self._core.begin()
        # To the type checker it is the actor, as a handle is.
        return cast(A, _entered(self._handle, self._core, self))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                await self._core.settled()
        finally:
            await self._core.close()

    def __repr__(self) -> str:
        return f"<connection to {self._handle!r}, {self._core.status}>"

    async def _invoke(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        reply = await self._core.invoke(self._handle._call(action, args, kwargs))
        return action.decode(reply.result)

    async def _stream(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        items = self._core.stream(self._handle._call(action, args, kwargs))
        try:
            async for item in items:
                yield action.decode(item)
        finally:
            await items.aclose()


_MEMBERS: Final = frozenset(name for name in vars(ActorConnection) if not name.startswith("_"))
_ALWAYS: Final = frozenset({"on", "once", "events", "with_options"})


def connect(handle: ActorHandle, params: Any) -> ActorConnection[Any]:
    """A connection that is not yet open; HoldfastError where there can be none."""
    client = handle._client
    transport = client.transport
    if not hasattr(transport, "connection"):
        raise HoldfastError("connections need a session: Client(..., session=True)")
    options = handle._options
    encoding = client.encoding if options.encoding is None else options.encoding
    timeout = handle._timeout()
    request = Connect(
        namespace=client.namespace, target=handle._target, encoding=encoding, timeout=timeout
    )
    given = options.params if params is None else params
    decode = arguments_of(handle._cls)
    make: type[ConnectionCore] = getattr(transport, "connection_core", ConnectionCore)
    core = make(cast("SessionTransport", transport), request, given, timeout, decode)
    return ActorConnection(handle, core)


def _entered(
    handle: ActorHandle, core: ConnectionCore, same: ActorConnection[Any] | None = None
) -> ActorConnection[Any]:
    """The connection as its block sees it: actions of the class come before its own names."""
    actions = known_actions(handle._cls) if handle._cls is not None else {}
    hidden = [name for name in actions if name in _MEMBERS and name not in _ALWAYS]
    if not hidden and same is not None:
        return same
    made: ActorConnection[Any] = ActorConnection(handle, core)
    for name in hidden:
        vars(made)[name] = RemoteAction(made, actions[name])
    return made


def _name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of an event is a string, not {type(name).__name__}")
    return name


__all__ = ["ActorConnection", "Status"]
