"""The client for code without an event loop: the same surface, blocking.

    with Client("127.0.0.1:6430") as client:
        room = client.get_or_create(ChatRoom, ["org-acme", "general"])
        room.call(ChatRoom.send, "hello")      # checked by the type checker
        room.send("hello")                     # the same, unchecked

One background thread runs one event loop for each client; any number of threads
may use the client. What interrupts a waiting thread cancels its call.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast, overload

from typing_extensions import ParamSpec, TypeVar

from holdfast import client as _client
from holdfast import payload
from holdfast._handle import ActorHandle
from holdfast._transport import ActorInfo
from holdfast.actor import Action, Actor
from holdfast.client import Key
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast._trace import RpcObserver
    from holdfast.tls import TlsConfig

A = TypeVar("A", bound=Actor[Any, Any], default=Any)
P = ParamSpec("P")
R = TypeVar("R")


class _Loop:
    # One event loop on one daemon thread.

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="holdfast-client", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def closed(self) -> bool:
        """Whether the loop has been closed."""
        return self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop and wait for it."""
        if self.closed:
            coroutine.close()
            raise HoldfastError("the client is closed")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise HoldfastError("a blocking client cannot be used on its own loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # An interrupt of this thread must not leave the call running.
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[R]) -> Iterator[R]:
        """The items, each fetched when it is wanted; closing stops the source."""
        try:
            while True:
                try:
                    item = self.run(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and not self.closed:
                self.run(close())

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        if self.closed:
            return
        # No thread may be left waiting for a task that never runs again.
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _next(items: AsyncIterator[R]) -> R:
    return await anext(items)


class Handle(Generic[A]):
    """Calls the actions of one actor and waits for the answers."""

    __slots__ = ("_handle", "_loop")

    def __init__(self, loop: _Loop, handle: ActorHandle) -> None:
        self._loop = loop
        self._handle = handle

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
    ) -> Handle[A]:
        """The same actor with these options; those that are None stay as they are."""
        return Handle(
            self._loop,
            self._handle.with_options(
                idempotency_key=idempotency_key, timeout=timeout, encoding=encoding
            ),
        )

    @overload
    def call(
        self, action: Action[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def call(
        self, action: Action[P, AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[R]: ...
    def call(self, action: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action, `ChatRoom.send`; a streaming action gives an iterator."""
        if inspect.isasyncgenfunction(action.function):
            return self.action_stream(action.name, *args, **kwargs)
        return self.action(action.name, *args, **kwargs)

    def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action by its wire name."""
        return self._loop.run(self._handle.action(name, *args, **kwargs))

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run a streaming action by its wire name."""
        return self._loop.iterate(self._handle.action_stream(name, *args, **kwargs))

    def resolve(self) -> str:
        """The actor's id; creates the actor if the handle is from get_or_create."""
        return self._loop.run(self._handle.resolve())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        run = getattr(self._handle, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            started = run(*args, **kwargs)
            if hasattr(started, "__anext__"):
                return self._loop.iterate(started)
            return self._loop.run(started)

        return wait

    def __repr__(self) -> str:
        return repr(self._handle)


class Client:
    """A blocking client of a server at `address`; the arguments are those of the async one."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        namespace: str = "default",
        tls: bool | TlsConfig = False,
        timeout: float | None = 60.0,
        encoding: str | int = payload.Encoding.MSGPACK,
    ) -> None:
        self._client = _client.Client(
            address, token=token, namespace=namespace, tls=tls, timeout=timeout, encoding=encoding
        )
        self._loop = _Loop()

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._client.address

    def observe(self, observer: RpcObserver) -> None:
        """Let `observer` see the RPCs of this client from now on; see `holdfast.contrib`."""
        self._client.observe(observer)

    def register(self, cls: type[Actor[Any, Any]], name: str) -> None:
        """Tell this client the wire name of a class that `setup` did not name here."""
        self._client.register(cls, name)

    @overload
    def get(self, actor: type[A], key: Key = ()) -> Handle[A]: ...
    @overload
    def get(self, actor: str, key: Key = ()) -> Handle[Any]: ...
    def get(self, actor: Any, key: Key = ()) -> Handle[Any]:
        """A handle of an actor that exists."""
        return self._wrap(self._client.get(actor, key))

    @overload
    def get_or_create(self, actor: type[A], key: Key = (), *, input: Any = None) -> Handle[A]: ...
    @overload
    def get_or_create(self, actor: str, key: Key = (), *, input: Any = None) -> Handle[Any]: ...
    def get_or_create(self, actor: Any, key: Key = (), *, input: Any = None) -> Handle[Any]:
        """A handle of an actor that its first call creates when it is missing."""
        return self._wrap(self._client.get_or_create(actor, key, input=input))

    def create(
        self,
        actor: type[A] | str,
        key: Key = (),
        *,
        input: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Handle[A]:
        """Create an actor now; `actor.duplicate_key` when there is one under the key."""
        made = self._client.create(
            cast(Any, actor),
            key,
            input=input,
            idempotency_key=idempotency_key,
            timeout=timeout,
        )
        return self._wrap(self._loop.run(made))

    @overload
    def get_for_id(self, actor: type[A], actor_id: str) -> Handle[A]: ...
    @overload
    def get_for_id(self, actor: str, actor_id: str) -> Handle[Any]: ...
    def get_for_id(self, actor: Any, actor_id: str) -> Handle[Any]:
        """A handle of the actor with this id."""
        return self._wrap(self._client.get_for_id(actor, actor_id))

    def list(
        self,
        actor: type[Actor[Any, Any]] | str,
        *,
        key_prefix: Key = (),
        page_size: int = 100,
        timeout: float | None = None,
    ) -> Iterator[ActorInfo]:
        """The actors of a class in the order of their keys, fetched page by page."""
        return self._loop.iterate(
            self._client.list(actor, key_prefix=key_prefix, page_size=page_size, timeout=timeout)
        )

    def destroy(
        self,
        actor: type[Actor[Any, Any]] | str | Handle[Any],
        key: Key | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Destroy an actor, by class and key or by a handle of it; returns its id."""
        target = actor._handle if isinstance(actor, Handle) else actor
        return self._loop.run(
            self._client.destroy(target, key, idempotency_key=idempotency_key, timeout=timeout)
        )

    def close(self) -> None:
        """Close the channel and end the thread; calls under way fail."""
        if self._loop.closed:
            return
        self._loop.run(self._client.close())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wrap(self, handle: object) -> Handle[Any]:
        return Handle(self._loop, cast(ActorHandle, handle))


__all__ = ["Client", "Handle"]
