"""The client for code without an event loop: the same surface, blocking.

    with Client("127.0.0.1:6430") as client:
        room = client.get_or_create(ChatRoom, ["org-acme", "general"])
        room.call(ChatRoom.send, "hello")      # checked by the type checker
        room.send("hello")                     # the same, unchecked

Python's types cannot say "this class with its coroutines awaited", so what the checker
knows of a blocking handle is `call`, which takes the action itself.

One background thread runs the event loop of all blocking clients; any number of threads
may use a client. What interrupts a waiting thread, such as Ctrl-C, cancels its call;
closing an iterator early, as `break` does, ends the streaming action.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, cast, overload

from typing_extensions import ParamSpec, TypeVar

from holdfast import client as _client
from holdfast import payload
from holdfast._background import Runner
from holdfast._blocking_connection import (
    Connection,
    Threaded,
    make_connection,
    register_on,
    subscribe,
)
from holdfast._blocking_raw import Response, WebSocket
from holdfast._handle import ActorHandle
from holdfast._token import TokenSource
from holdfast._transport import ActorInfo
from holdfast.actor import Action, Actor
from holdfast.client import Key
from holdfast.events import DeliveredEvent, SlowReader
from holdfast.fetch import FetchBody
from holdfast.http import GivenHeaders
from holdfast.tls import TlsConfig

if TYPE_CHECKING:
    from holdfast._trace import RpcObserver

A = TypeVar("A", bound=Actor[Any, Any], default=Any)
P = ParamSpec("P")
R = TypeVar("R")


class Handle(Generic[A]):
    """Calls the actions of one actor and waits for the answers; made by a client.

    Compares and hashes as the handles of the async client do, and is not pickled.
    """

    __slots__ = ("_handle", "_runner")

    def __init__(self, runner: Runner, handle: ActorHandle) -> None:
        self._runner = runner
        self._handle = handle

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
        params: Any = None,
    ) -> Handle[A]:
        """The same actor with these options; those that are None stay as they are.

        `idempotency_key` (1 to 255 bytes) names one call: the server answers a repeated
        one with the first one's answer for 24 hours. `timeout` is the deadline of a call
        with all its retries in seconds; `math.inf` for none. `encoding` is that of
        arguments and results, a member of `holdfast.payload.Encoding` or its name, "json".
        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        changed = self._handle.with_options(
            idempotency_key=idempotency_key, timeout=timeout, encoding=encoding, params=params
        )
        return Handle(self._runner, changed)

    @overload
    def call(
        self, action: Action[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def call(
        self, action: Action[P, AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[R]: ...
    def call(self, action: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action, `ChatRoom.send`; a streaming action gives an iterator.

        Raises TypeError for what is no action of the handle's class, ActorError for
        whatever fails.
        """
        return self._wait(self._handle._start(action, args, kwargs))

    def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action by its wire name; its result. Raises ActorError."""
        return self._runner.run(self._handle.action(name, *args, **kwargs))

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run a streaming action by its wire name; its items. Raises ActorError."""
        return self._runner.iterate(self._handle.action_stream(name, *args, **kwargs))

    def connect(self, params: Any = None) -> Connection[A]:
        """A connection to the actor, to be entered with `with`.

        `params` are given to the actor's connection hooks; those of the handle where None.
        A function, plain or `async`, is called for the parameters of each opening.
        """
        return make_connection(self._runner, self._handle.connect, params)

    def events(
        self,
        *names: str,
        from_sequence: int | None = None,
        slow_reader: SlowReader = "end",
    ) -> Iterator[DeliveredEvent]:
        """The events of these names, of all names when there are none, without a
        connection: from now on or from a number."""
        return subscribe(self._runner, self._handle.events, names, from_sequence, slow_reader)

    def on(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Call `function`, on a thread of its own, with the arguments of each event of this
        name, until what this returns is called. Its errors are logged."""
        listen = partial(self._handle.on, slow_reader=slow_reader)
        return register_on(self._runner, listen, name, Threaded()(function))

    def once(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """As `on`, for one event."""
        listen = partial(self._handle.once, slow_reader=slow_reader)
        return register_on(self._runner, listen, name, Threaded()(function))

    def fetch(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: GivenHeaders | None = None,
        body: FetchBody = None,
    ) -> Response:
        """Send a raw HTTP request to the actor's `on_request`, through the gateway.

        As `holdfast.Client` does it. Raises ActorError when the gateway cannot be reached,
        or the handle's timeout passes before the answer begins.
        """
        sent = self._handle.fetch(path, method=method, headers=headers, body=body)
        return Response(self._runner, self._runner.run(sent))

    def websocket(
        self,
        path: str = "/",
        *,
        headers: GivenHeaders | None = None,
        subprotocols: Sequence[str] = (),
    ) -> WebSocket:
        """A raw WebSocket to the actor's `on_websocket`, to be used with `with`."""
        opening = self._handle.websocket(path, headers=headers, subprotocols=subprotocols)
        return WebSocket(self._runner, opening)

    def get_gateway_url(self) -> str:
        """The URL of the actor at the gateway, with the client's token."""
        return self._runner.run(self._handle.get_gateway_url())

    def resolve(self) -> str:
        """The actor's id; creates the actor if the handle is from get_or_create.

        Raises ActorError `actor.not_found` where there is none to be found.
        """
        return self._runner.run(self._handle.resolve())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        run = getattr(self._handle, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            return self._wait(run(*args, **kwargs))

        return wait

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._handle)})

    def __eq__(self, other: object) -> bool:
        return self._handle == other._handle if isinstance(other, Handle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._handle)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        self._handle.__reduce__()

    def __repr__(self) -> str:
        return repr(self._handle)

    def _wait(self, started: Any) -> Any:
        if hasattr(started, "__anext__"):
            return self._runner.iterate(started)
        return self._runner.run(started)


class Client:
    """A blocking client of one server; arguments and errors are those of `holdfast.Client`.

    Any thread may use it. A forked process makes its own: there, calls of this one raise
    HoldfastError.
    """

    def __init__(
        self,
        address: str,
        *,
        token: TokenSource = None,
        namespace: str = "default",
        tls: bool | TlsConfig = False,
        timeout: float | None = 60.0,
        encoding: str | int = payload.Encoding.MSGPACK,
        session: bool = True,
        gateway: str | None = None,
    ) -> None:
        self._client = _client.Client(
            address,
            token=token,
            namespace=namespace,
            tls=tls,
            timeout=timeout,
            encoding=encoding,
            session=session,
            gateway=gateway,
        )
        self._runner = Runner()

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._client.address

    @property
    def namespace(self) -> str:
        """The namespace of the actors."""
        return self._client.namespace

    @property
    def timeout(self) -> float | None:
        """The deadline of a call with all its retries in seconds; None for none."""
        return self._client.timeout

    @property
    def encoding(self) -> int:
        """The encoding of arguments and results."""
        return self._client.encoding

    def name_of(self, actor: type[Actor[Any, Any]] | str) -> str:
        """The wire name of an actor class; a string is one already.

        Raises HoldfastError for a class that has no name here, TypeError for what is
        neither a class nor a name.
        """
        return self._client.name_of(actor)

    def renew_token(self, token: TokenSource) -> None:
        """Go on with another token, or another function that gives it; a function runs on the
        client's own thread."""

        async def renew() -> None:
            self._client.renew_token(token)

        self._runner.run(renew())

    def observe(self, observer: RpcObserver) -> None:
        """Let `observer` see the RPCs of this client from now on; see `holdfast.contrib`."""
        self._client.observe(observer)

    def register(self, cls: type[Actor[Any, Any]], name: str) -> None:
        """Tell this client the wire name of a class that `setup` did not name here."""
        self._client.register(cls, name)

    @overload
    def get(self, actor: type[A], key: Key = (), *, params: Any = None) -> Handle[A]: ...
    @overload
    def get(self, actor: str, key: Key = (), *, params: Any = None) -> Handle[Any]: ...
    def get(self, actor: Any, key: Key = (), *, params: Any = None) -> Handle[Any]:
        """A handle of an actor that exists.

        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        return self._wrap(self._client.get(actor, key, params=params))

    @overload
    def get_or_create(
        self, actor: type[A], key: Key = (), *, input: Any = None, params: Any = None
    ) -> Handle[A]: ...
    @overload
    def get_or_create(
        self, actor: str, key: Key = (), *, input: Any = None, params: Any = None
    ) -> Handle[Any]: ...
    def get_or_create(
        self, actor: Any, key: Key = (), *, input: Any = None, params: Any = None
    ) -> Handle[Any]:
        """A handle of an actor that its first call creates when it is missing.

        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        return self._wrap(self._client.get_or_create(actor, key, input=input, params=params))

    @overload
    def create(
        self,
        actor: type[A],
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Handle[A]: ...
    @overload
    def create(
        self,
        actor: str,
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Handle[Any]: ...
    def create(
        self,
        actor: Any,
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Handle[Any]:
        """Create an actor now; `actor.duplicate_key` when there is one under the key.

        The handle is of this very actor: it does not find a later one of the same key.
        """
        made = self._client.create(
            actor,
            key,
            input=input,
            params=params,
            idempotency_key=idempotency_key,
            timeout=timeout,
        )
        return self._wrap(self._runner.run(made))

    @overload
    def get_for_id(self, actor: type[A], actor_id: str, *, params: Any = None) -> Handle[A]: ...
    @overload
    def get_for_id(self, actor: str, actor_id: str, *, params: Any = None) -> Handle[Any]: ...
    def get_for_id(self, actor: Any, actor_id: str, *, params: Any = None) -> Handle[Any]:
        """A handle of the actor with this id."""
        return self._wrap(self._client.get_for_id(actor, actor_id, params=params))

    def list(
        self,
        actor: type[Actor[Any, Any]] | str,
        *,
        key_prefix: Key = (),
        page_size: int = 100,
        timeout: float | None = None,
    ) -> Iterator[ActorInfo]:
        """The actors of a class in the order of their keys, fetched page by page."""
        return self._runner.iterate(
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
        """Destroy an actor, by class and key or by a handle of it; returns its id.

        A handle's own options hold where none are given. Raises ActorError
        `actor.not_found` where there is no such actor.
        """
        target = actor._handle if isinstance(actor, Handle) else actor
        return self._runner.run(
            self._client.destroy(target, key, idempotency_key=idempotency_key, timeout=timeout)
        )

    def close(self) -> None:
        """Close the channel; calls under way fail with a HoldfastError."""
        self._runner.close(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        self._client.__reduce__()

    def __repr__(self) -> str:
        return f"<holdfast.blocking.Client {self.address} namespace={self.namespace!r}>"

    def _wrap(self, handle: object) -> Handle[Any]:
        return Handle(self._runner, cast(ActorHandle, handle))


__all__ = ["Client", "Connection", "Handle", "Response", "WebSocket"]
