"""Connections for code without an event loop: the same surface, blocking.

    with room.connect({"user": "ada"}) as conn:
        conn.on("message", print)
        conn.send("hello")
        for event in conn.events("message"):
            ...

Listeners run one at a time on a thread of the connection's own, never on that of the
event loop, so they may use the client. A connection is opened where its block is entered:
what `on_connect` says is heard by listeners that were registered before.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, overload

from typing_extensions import ParamSpec, TypeVar

from holdfast._background import Runner
from holdfast._listeners import Queued
from holdfast.actor import Action
from holdfast.actor_connection import ActorConnection, Status
from holdfast.events import DeliveredEvent, SlowReader

# How long the end of a connection waits for the functions that hear of it.
CLOSE_S: Final = 5.0

A = TypeVar("A", default=Any)
P = ParamSpec("P")
R = TypeVar("R")


class Threaded:
    """Functions that are called on one thread instead of on the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="holdfast-listener", initializer=self._started
        )
        self._ident: int | None = None

    def _started(self) -> None:
        self._ident = threading.get_ident()

    def is_current(self) -> bool:
        """Whether the calling code is a listener."""
        return self._ident == threading.get_ident()

    def __call__(self, function: Callable[..., Any]) -> Any:
        """The function as a listener of a connection, or of a handle."""
        if not callable(function):
            raise TypeError(f"a listener is a function, not {type(function).__name__}")

        def call(unwanted: Callable[[], bool], args: tuple[Any, ...]) -> Any:
            return None if unwanted() else function(*args)

        def run(unwanted: Callable[[], bool], *args: Any) -> Any:
            # Here, and not in a coroutine, so that calls have the order of their causes.
            loop = asyncio.get_running_loop()
            return _awaited(loop.run_in_executor(self._thread, call, unwanted, args))

        return Queued(run)

    def stop(self) -> None:
        """What is running ends by itself; nothing more begins."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Connection(Generic[A]):
    """A connection of a blocking handle. See the module and `ActorConnection`."""

    def __init__(
        self, runner: Runner, connection: ActorConnection[Any], threaded: Threaded
    ) -> None:
        self._runner = runner
        self._connection = connection
        self._threaded = threaded

    @property
    def status(self) -> Status:
        """As that of `ActorConnection`."""
        return self._connection.status

    @property
    def actor_id(self) -> str | None:
        """The id of the actor; None before it is open."""
        return self._connection.actor_id

    @property
    def connection_id(self) -> str | None:
        """The id of the connection; None before it is open."""
        return self._connection.connection_id

    def ready(self) -> None:
        """Wait until it is open. Raises ActorError if the actor refuses it."""
        self._runner.run(self._connection.ready())

    def close(self) -> None:
        """Disconnect; does nothing again."""
        self._runner.run(self._connection.close())
        self._stop()

    def on(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Call `function` on the connection's thread with the arguments of each event, and
        each message, of this name; what this returns removes it."""
        listen = partial(self._connection.on, slow_reader=slow_reader)
        return self._register(listen, name, self._threaded(function))

    def once(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """As `on`, for one event."""
        listen = partial(self._connection.once, slow_reader=slow_reader)
        return self._register(listen, name, self._threaded(function))

    def events(
        self,
        *names: str,
        from_sequence: int | None = None,
        slow_reader: SlowReader = "end",
    ) -> Iterator[DeliveredEvent]:
        """The events of these names; see `ActorConnection.events`."""
        return subscribe(self._runner, self._connection.events, names, from_sequence, slow_reader)

    def on_open(self, function: Callable[[], Any], /) -> Callable[[], None]:
        """Call when it is opened, also anew."""
        return self._register(self._connection.on_open, self._threaded(function))

    def on_close(self, function: Callable[[], Any], /) -> Callable[[], None]:
        """Call when it is closed for good, by either side."""
        return self._register(self._connection.on_close, self._threaded(function))

    def on_error(self, function: Callable[[Exception], Any], /) -> Callable[[], None]:
        """Call with what fails beside calls."""
        return self._register(self._connection.on_error, self._threaded(function))

    def on_status_change(self, function: Callable[[Status], Any], /) -> Callable[[], None]:
        """Call with each new `status`."""
        return self._register(self._connection.on_status_change, self._threaded(function))

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
    ) -> Connection[A]:
        """The same connection with options for its calls."""
        changed = self._connection.with_options(
            idempotency_key=idempotency_key, timeout=timeout, encoding=encoding
        )
        return Connection(self._runner, changed, self._threaded)

    def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action by its wire name; its result. Raises ActorError."""
        return self._runner.run(self._connection.action(name, *args, **kwargs))

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run a streaming action by its wire name; its items. Raises ActorError."""
        return self._runner.iterate(self._connection.action_stream(name, *args, **kwargs))

    @overload
    def call(
        self, action: Action[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def call(
        self, action: Action[P, AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[R]: ...
    def call(self, action: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action of the class, given as `ChatRoom.send`."""
        return self._wait(self._connection._start(action, args, kwargs))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        run = getattr(self._connection, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            return self._wait(run(*args, **kwargs))

        return wait

    def __enter__(self) -> Self:
        self._runner.run(_enter(self._connection))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if not self._runner.closed:
                self._runner.run(self._connection.__aexit__(exc_type, exc, traceback))
        finally:
            self._stop()

    def _stop(self) -> None:
        if not self._runner.closed and not self._threaded.is_current():
            self._runner.run(_quiet(self._connection))
        self._threaded.stop()

    def __repr__(self) -> str:
        return repr(self._connection)

    def _register(
        self, register: Callable[..., Callable[[], None]], *args: Any
    ) -> Callable[[], None]:
        return register_on(self._runner, register, *args)

    def _wait(self, started: Any) -> Any:
        if hasattr(started, "__anext__"):
            return self._runner.iterate(started)
        return self._runner.run(started)


def register_on(
    runner: Runner, register: Callable[..., Callable[[], None]], *args: Any
) -> Callable[[], None]:
    """Register a listener on the loop; gives what removes it there."""

    async def call(function: Callable[..., Any], *given: Any) -> Any:
        return function(*given)

    remove: Callable[[], None] = runner.run(call(register, *args))

    def unregister() -> None:
        if not runner.closed:
            runner.run(call(remove))

    return unregister


def subscribe(
    runner: Runner,
    events: Callable[..., Any],
    names: tuple[str, ...],
    from_sequence: int | None,
    slow_reader: SlowReader,
) -> Iterator[DeliveredEvent]:
    """An iterator of events that are subscribed to on the loop, now."""

    async def start() -> Any:
        return events(*names, from_sequence=from_sequence, slow_reader=slow_reader)

    return runner.iterate(runner.run(start()))


def make_connection(runner: Runner, connect: Callable[[Any], Any], params: Any) -> Connection[Any]:
    """A connection that is not yet open."""

    async def make() -> Any:
        return connect(params)

    return Connection(runner, runner.run(make()), Threaded())


async def _awaited(running: Awaitable[Any]) -> None:
    outcome = await running
    if inspect.isawaitable(outcome):
        await outcome


async def _quiet(connection: ActorConnection[Any]) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await connection._core.quiet()
    except TimeoutError:
        pass


async def _enter(connection: ActorConnection[Any]) -> None:
    await connection.__aenter__()


__all__ = ["Connection", "Threaded", "make_connection", "register_on", "subscribe"]
