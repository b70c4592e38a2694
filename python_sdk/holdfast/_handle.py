"""Handles: what a client calls an actor through.

A handle is a target and options, nothing else; making one costs no call. With a
known class its actions are found by their Python names and results are decoded
to the types the class declares; without, every name is an action of the wire.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from holdfast import payload
from holdfast._actions import (
    KnownAction,
    by_wire_name,
    encode_arguments,
    encode_value,
    known_action,
    known_actions,
    untyped,
)
from holdfast._connection_core import SLOW_READERS, Named
from holdfast._events import arguments_of
from holdfast._feed import Buffer, Events, Feed, Sink
from holdfast._listeners import log_error
from holdfast._transport import Call, Lifecycle, Subscribe, Target
from holdfast.actor import CLIENT_MEMBERS, Action
from holdfast.errors import HoldfastError
from holdfast.events import DeliveredEvent, SlowReader
from holdfast.fetch import ClientSocket, FetchBody, request_of, transport_of
from holdfast.http import GivenHeaders, Response

if TYPE_CHECKING:
    from holdfast._grpc import GrpcTransport
    from holdfast.actor_connection import ActorConnection
    from holdfast.client import BaseClient


@dataclass(frozen=True, slots=True)
class Options:
    """What `with_options` sets; None means the client's default. `params` are encoded."""

    idempotency_key: str | None = None
    timeout: float | None = None
    encoding: int | None = None
    params: Any = None


DEFAULTS = Options()


def event_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of events; TypeError for what is none."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"the name of an event is a string, not {type(name).__name__}")
    return names


def event_start(sequence: int | None) -> int | None:
    """The first number wanted, or None for from now on; TypeError or ValueError otherwise."""
    if sequence is None:
        return None
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise TypeError(f"from_sequence is a number, not {type(sequence).__name__}")
    if sequence < 1:
        raise ValueError(f"events are numbered from 1: from_sequence is not {sequence}")
    return sequence


def slow(reader: SlowReader) -> SlowReader:
    """What happens to a slow reader; ValueError for what is unknown."""
    if reader not in SLOW_READERS:
        raise ValueError(f"slow_reader is one of {', '.join(SLOW_READERS)}, not {reader!r}")
    return reader


def encoding_number(encoding: str | int) -> int:
    """The number of an encoding that is given by number or name; ValueError if unknown."""
    names = {member.name.lower(): int(member) for member in payload.Encoding}
    number = names.get(encoding) if isinstance(encoding, str) else int(encoding)
    if number not in names.values():
        raise ValueError(f"unknown encoding {encoding!r}: one of {', '.join(names)}")
    assert number is not None
    return number


def check_timeout(timeout: float | None) -> float | None:
    """A timeout in seconds, or None for none; TypeError or ValueError for anything else."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds, not {type(timeout).__name__}")
    if not timeout > 0:
        raise ValueError(f"a timeout is a positive number of seconds, not {timeout}")
    return timeout


def check_idempotency_key(key: str | None) -> str | None:
    """An idempotency key, or None for none; TypeError or ValueError for anything else."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"an idempotency key is a string, not {type(key).__name__}")
    # On the wire an empty key is no key, and a retry of the call could run twice.
    if not key:
        raise ValueError("an idempotency key has at least one character")
    return key


class RemoteAction:
    """One action of a handle: `handle.send`. Calling it calls the actor."""

    __slots__ = ("_action", "_handle")

    def __init__(self, handle: Callee, action: KnownAction) -> None:
        self._handle = handle
        self._action = action

    @property
    def name(self) -> str:
        """The action's name on the wire."""
        return self._action.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An awaitable of the result, or an async iterator of a streaming action's items."""
        if self._action.streaming:
            return self._handle._stream(self._action, args, kwargs)
        return self._handle._invoke(self._action, args, kwargs)

    def inline(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Only a live actor runs its actions inline; raises HoldfastError."""
        raise HoldfastError(
            f"{self.name!r} belongs to a handle, which calls another actor: inline runs an "
            "action of `self` inside its own turn"
        )

    def __repr__(self) -> str:
        return f"<action {self.name!r} of {self._handle!r}>"


class Callee:
    """What has the actions of an actor: a handle, or a connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _cls: type | None

        async def _invoke(
            self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any: ...
        def _stream(
            self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncIterator[Any]: ...

    async def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action by its wire name; its result. Raises ActorError."""
        return await self._invoke(self._known(name, streaming=False), args, kwargs)

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Run a streaming action by its wire name; its items. Raises ActorError."""
        return self._stream(self._known(name, streaming=True), args, kwargs)

    def __getattr__(self, name: str) -> RemoteAction:
        cls = self._cls
        known = None if cls is None else known_actions(cls).get(name)
        if known is not None:
            return RemoteAction(self, known)
        if name.startswith("_") or name in CLIENT_MEMBERS:
            raise AttributeError(name)
        if cls is None:
            return RemoteAction(self, untyped(name))
        raise AttributeError(f"{cls.__name__} has no action {name!r}")

    def __dir__(self) -> list[str]:
        actions = known_actions(self._cls) if self._cls is not None else ()
        return [*super().__dir__(), *actions]

    def _known(self, name: str, *, streaming: bool) -> KnownAction:
        known = by_wire_name(self._cls).get(name) if self._cls is not None else None
        # The caller says which kind it wants; the server refuses the wrong one.
        if known is None or known.streaming != streaming:
            return untyped(name, streaming=streaming)
        return known

    def _start(
        self, action: Action[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an action that is given as `ChatRoom.send`."""
        if not isinstance(action, Action):
            raise TypeError(f"an action is given as `ChatRoom.send`, not as {action!r}")
        cls, owner = self._cls, action.owner
        if cls is None or owner is None:
            known = known_action(action, owner)
        elif owner in cls.__mro__:
            known = known_actions(cls)[action.attribute]
        else:
            raise TypeError(f"{owner.__name__}.{action.attribute} is no action of {cls.__name__}")
        return RemoteAction(self, known)(*args, **kwargs)


class ActorHandle(Callee):
    """Calls the actions of one actor; made by a client, see the module.

    Handles are equal when they name the same actor in the same way through the same
    client, whatever their options; they can be keys of a dict. They are not pickled: the
    other process has another client, which finds the actor by its name and key.
    """

    __slots__ = ("_client", "_cls", "_options", "_target")

    def __init__(
        self,
        client: BaseClient,
        target: Target,
        cls: type | None = None,
        options: Options = DEFAULTS,
    ) -> None:
        self._client = client
        self._target = target
        self._cls = cls
        self._options = options

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
        params: Any = None,
    ) -> ActorHandle:
        """The same actor with these options; those that are None stay as they are.

        `idempotency_key` (1 to 255 bytes) names one call: the server answers a repeated
        one with the first one's answer for 24 hours. `timeout` is the deadline of a call
        with all its retries in seconds; `math.inf` for none. `encoding` is that of
        arguments and results, a member of `holdfast.payload.Encoding` or its name, "json".
        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        number = None if encoding is None else encoding_number(encoding)
        given = {
            "idempotency_key": check_idempotency_key(idempotency_key),
            "timeout": check_timeout(timeout),
            "encoding": number,
            "params": params,
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        options = replace(self._options, **changed)
        return ActorHandle(self._client, self._target, self._cls, options)

    def connect(self, params: Any = None) -> ActorConnection[Any]:
        """A connection to the actor, to be entered with `async with`.

        `params` are given to the actor's connection hooks; those of the handle where None.
        A function, plain or `async`, is called for the parameters of each opening.
        """
        from holdfast.actor_connection import connect

        return connect(self, params)

    def events(
        self,
        *names: str,
        from_sequence: int | None = None,
        slow_reader: SlowReader = "end",
    ) -> AsyncIterator[DeliveredEvent]:
        """The events of these names, of all names when there are none, without a
        connection: from now on or from a number. Where events are no longer kept it raises
        EventsTrimmed; iterating again goes on from the oldest."""
        buffer = Buffer()
        feed = self._feed(event_names(names), event_start(from_sequence), slow_reader, buffer)
        return Events(feed, buffer, lambda feed: None)

    def on(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Call `function` with the arguments of each event of this name, without a
        connection, until what this returns is called. Its errors are logged."""
        return self._listen(name, function, slow_reader, once=False)

    def once(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """As `on`, for one event."""
        return self._listen(name, function, slow_reader, once=True)

    async def fetch(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: GivenHeaders | None = None,
        body: FetchBody = None,
    ) -> Response:
        """Send a raw HTTP request to the actor's `on_request`, through the gateway.

        `path` begins with "/" or not, and may have a query. Answers whatever their status
        are returned, errors of the server as JSON with `group`, `code` and `message`; their
        body is read from the response, to its end, or given up by its `close`. Raises
        ActorError when the gateway cannot be reached, or the handle's timeout passes before
        the answer begins; nothing is tried again.
        """
        request = request_of(self, path, method=method, headers=headers, body=body)
        return await transport_of(self).fetch(request)

    def websocket(
        self,
        path: str = "/",
        *,
        headers: GivenHeaders | None = None,
        subprotocols: Sequence[str] = (),
    ) -> ClientSocket:
        """A raw WebSocket to the actor's `on_websocket`, through the gateway: to be entered
        with `async with`, or awaited. What is wrong with it is told by its close code."""
        request = request_of(self, path, headers=headers, subprotocols=subprotocols)
        return ClientSocket(transport_of(self), request)

    async def get_gateway_url(self) -> str:
        """The URL of the actor at the gateway, with the client's token: what follows it is
        "/request/..." or "/websocket/...". Creates the actor if the handle is from
        get_or_create."""
        return await transport_of(self).url(self._client.namespace, self._target)

    async def resolve(self) -> str:
        """The actor's id; creates the actor if the handle is from get_or_create.

        Raises ActorError `actor.not_found` where there is none to be found.
        """
        if self._target.actor_id is not None:
            return self._target.actor_id
        request = Lifecycle(
            namespace=self._client.namespace,
            target=self._target,
            idempotency_key=self._options.idempotency_key if self._target.create else None,
            timeout=self._timeout(),
        )
        if self._target.create:
            return (await self._client.transport.get_or_create(request))[0].actor_id
        return (await self._client.transport.get(request)).actor_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorHandle):
            return NotImplemented
        return self._client is other._client and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((id(self._client), self._identity()))

    def __copy__(self) -> ActorHandle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorHandle:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a handle is not pickled: pass on the actor's name and key, and let a client "
            "of the other process find it"
        )

    def __repr__(self) -> str:
        target = self._target
        if target.actor_id is not None:
            return f"<actor {target.actor_id}>"
        return f"<actor {target.name} {list(target.key)}>"

    def _identity(self) -> tuple[str | None, str, tuple[str, ...]]:
        target = self._target
        return target.actor_id, "" if target.actor_id is not None else target.name, target.key

    def _listen(
        self, name: str, function: Callable[..., Any], slow_reader: SlowReader, *, once: bool
    ) -> Callable[[], None]:
        client, log = self._client, log_error(f"a listener of {self!r}")
        # Whoever has closed the client knows why nothing more comes.
        named = Named(lambda error: None if client._closed else log(error))
        named.feed = feed = self._feed(event_names((name,)), None, slow_reader, named)
        return named.listeners.add(function, once=once, emptied=feed.close)

    def _feed(
        self, names: tuple[str, ...], start: int | None, slow_reader: SlowReader, sink: Sink
    ) -> Feed:
        subscription = cast("GrpcTransport", self._client.transport).subscription
        own = self._options.encoding
        request = Subscribe(
            namespace=self._client.namespace,
            target=self._target,
            names=names,
            encoding=self._client.encoding if own is None else own,
            slow_reader=SLOW_READERS[slow(slow_reader)],
        )
        feed = Feed(start, sink, arguments_of(self._cls))
        feed.carrier = subscription(request, feed)
        feed.open()
        return feed

    def _timeout(self) -> float | None:
        own = self._options.timeout
        timeout = self._client.timeout if own is None else own
        return None if timeout == math.inf else timeout

    def _call(self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        own = self._options.encoding
        encoding = self._client.encoding if own is None else own
        positional = named = None
        if args or kwargs:
            positional, named = encode_arguments(args, kwargs, encoding)
        options = self._options
        return Call(
            namespace=self._client.namespace,
            target=self._target,
            action=action.name,
            args=positional,
            kwargs=named,
            accept=encoding,
            idempotency_key=options.idempotency_key,
            timeout=self._timeout(),
            params=None if options.params is None else encode_value(options.params, encoding),
        )

    async def _invoke(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        reply = await self._client.transport.invoke(self._call(action, args, kwargs))
        return action.decode(reply.result)

    async def _stream(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        items = self._client.transport.stream(self._call(action, args, kwargs))
        try:
            async for item in items:
                yield action.decode(item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()


__all__ = ["ActorHandle", "Callee", "Options", "RemoteAction"]
