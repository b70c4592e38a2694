"""The client: finds, makes, calls and destroys actors.

    async with Client("127.0.0.1:6430") as client:
        room = client.get_or_create(ChatRoom, ["org-acme", "general"])
        await room.send("hello")

`BaseClient` works over any `Transport`; actors get one of their own server as
`c.client`. `Client` opens a gRPC channel when first used and closes it at the
end of its `async with` block. Every mutating call carries an idempotency key,
so its retries take effect once. A client belongs to one event loop.

The `params` of a handle are given to the connection hooks of its actor, at each call and
at `connect`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeAlias, TypeVar, cast, overload

from holdfast import payload
from holdfast._actions import encode_value
from holdfast._address import check_address
from holdfast._gateway_url import check_gateway
from holdfast._handle import (
    DEFAULTS,
    ActorHandle,
    Options,
    check_idempotency_key,
    check_timeout,
    encoding_number,
)
from holdfast._token import TokenSource, check_source
from holdfast._transport import ActorInfo, Encoded, Lifecycle, ListQuery, Target, Transport
from holdfast.actor import Actor
from holdfast.errors import HoldfastError
from holdfast.tls import TlsConfig

if TYPE_CHECKING:
    from holdfast._grpc import GrpcTransport
    from holdfast._http import HttpRaw
    from holdfast._trace import RpcObserver
    from holdfast.fetch import RawTransport

A = TypeVar("A", bound=Actor[Any, Any])
Key: TypeAlias = str | Iterable[str]
"""One part, or the parts of a key."""


def key_parts(key: Key) -> tuple[str, ...]:
    """The parts of a key; a string is a key of one part.

    Raises TypeError for parts that are no strings, ValueError for text that UTF-8 cannot
    carry. The limits on sizes are the server's: `request.invalid`.
    """
    if isinstance(key, str):
        parts: tuple[str, ...] = (key,)
    elif isinstance(key, (list, tuple, Iterable)) and not isinstance(key, (bytes, bytearray)):
        parts = tuple(key)
    else:
        raise TypeError(f"a key is a string or strings, not {type(key).__name__}")
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"a key is made of strings, not {type(part).__name__}")
        if not part.isascii():
            _check_utf8(part)
    return parts


def _check_utf8(part: str) -> None:
    try:
        part.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"a key is text that UTF-8 can carry: {part!r}: {error.reason}") from None


class BaseClient:
    """The surface of a client over a transport. See the module's docstring."""

    def __init__(
        self,
        transport: Transport | None,
        *,
        namespace: str = "default",
        timeout: float | None = 60.0,
        encoding: str | int = payload.Encoding.MSGPACK,
        names: dict[type, str] | None = None,
    ) -> None:
        self._transport = transport
        self._closed = False
        # Wire names of classes, shared with whoever gave them.
        self._names: dict[type, str] = {} if names is None else names
        self.namespace: str = namespace
        self.timeout: float | None = check_timeout(timeout)
        self.encoding: int = encoding_number(encoding)

    @property
    def transport(self) -> Transport:
        """What carries the calls of this client."""
        if self._transport is None:
            raise HoldfastError("the client is closed")
        return self._transport

    def register(self, cls: type[Actor[Any, Any]], name: str) -> None:
        """Tell this client the wire name of a class that `setup` did not name here."""
        self._names[cls] = name

    def name_of(self, actor: type[Actor[Any, Any]] | str) -> str:
        """The wire name of an actor class; a string is one already.

        Raises HoldfastError for a class that has no name here, TypeError for what is
        neither a class nor a name.
        """
        if isinstance(actor, str):
            return actor
        if not isinstance(actor, type):
            raise TypeError(f"an actor is a class or its name, not {type(actor).__name__}")
        # Only the class's own: a subclass is another actor.
        name = self._names.get(actor) or vars(actor).get("__holdfast_name__")
        if not isinstance(name, str):
            raise HoldfastError(
                f"{actor.__name__} has no name here: pass it to setup(use={{...}}), "
                f"call client.register({actor.__name__}, name), or give the name as a string"
            )
        return name

    @overload
    def get(self, actor: type[A], key: Key = (), *, params: Any = None) -> A: ...
    @overload
    def get(self, actor: str, key: Key = (), *, params: Any = None) -> ActorHandle: ...
    def get(self, actor: type[A] | str, key: Key = (), *, params: Any = None) -> A | ActorHandle:
        """A handle of an actor that exists; its calls fail with `actor.not_found` if not.

        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        return self._handle(actor, Target(name=self.name_of(actor), key=key_parts(key)), params)

    @overload
    def get_or_create(
        self, actor: type[A], key: Key = (), *, input: Any = None, params: Any = None
    ) -> A: ...
    @overload
    def get_or_create(
        self, actor: str, key: Key = (), *, input: Any = None, params: Any = None
    ) -> ActorHandle: ...
    def get_or_create(
        self, actor: type[A] | str, key: Key = (), *, input: Any = None, params: Any = None
    ) -> A | ActorHandle:
        """A handle of an actor that its first call creates, from `input`, when it is missing.

        `params` are what the actor's hooks of connections are given, at most 4 KiB.
        """
        target = Target(
            name=self.name_of(actor), key=key_parts(key), create=True, input=self._input(input)
        )
        return self._handle(actor, target, params)

    @overload
    async def create(
        self,
        actor: type[A],
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> A: ...
    @overload
    async def create(
        self,
        actor: str,
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> ActorHandle: ...
    async def create(
        self,
        actor: type[A] | str,
        key: Key = (),
        *,
        input: Any = None,
        params: Any = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> A | ActorHandle:
        """Create an actor now; `actor.duplicate_key` when there is one under the key.

        The handle is of this very actor: it does not find a later one of the same key.
        """
        name = self.name_of(actor)
        request = Lifecycle(
            namespace=self.namespace,
            target=Target(name=name, key=key_parts(key), input=self._input(input)),
            idempotency_key=check_idempotency_key(idempotency_key),
            timeout=self._timeout(timeout),
        )
        info = await self.transport.create(request)
        return self._handle(actor, Target(actor_id=info.actor_id, name=name), params)

    @overload
    def get_for_id(self, actor: type[A], actor_id: str, *, params: Any = None) -> A: ...
    @overload
    def get_for_id(self, actor: str, actor_id: str, *, params: Any = None) -> ActorHandle: ...
    def get_for_id(
        self, actor: type[A] | str, actor_id: str, *, params: Any = None
    ) -> A | ActorHandle:
        """A handle of the actor with this id."""
        return self._handle(actor, Target(actor_id=actor_id, name=self.name_of(actor)), params)

    async def list(
        self,
        actor: type[Actor[Any, Any]] | str,
        *,
        key_prefix: Key = (),
        page_size: int = 100,
        timeout: float | None = None,
    ) -> AsyncIterator[ActorInfo]:
        """The actors of a class in the order of their keys, fetched page by page."""
        token = ""
        while True:
            query = ListQuery(
                namespace=self.namespace,
                name=self.name_of(actor),
                key_prefix=key_parts(key_prefix),
                page_size=page_size,
                page_token=token,
                timeout=self._timeout(timeout),
            )
            actors, token = await self.transport.list_actors(query)
            for info in actors:
                yield info
            if not token:
                return

    async def destroy(
        self,
        actor: type[Actor[Any, Any]] | str | Actor[Any, Any] | ActorHandle,
        key: Key | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Destroy an actor, by class and key or by a handle of it; returns its id.

        A handle's own options hold where none are given. Raises ActorError
        `actor.not_found` where there is no such actor.
        """
        if isinstance(actor, ActorHandle):
            if key is not None:
                raise TypeError("destroy takes a handle, or a class or name and a key, not both")
            target, own = actor._target, actor._options
            target = Target(actor_id=target.actor_id, name=target.name, key=target.key)
            idempotency_key = own.idempotency_key if idempotency_key is None else idempotency_key
            timeout = own.timeout if timeout is None else timeout
        elif isinstance(actor, Actor) or key is None:
            raise TypeError("destroy takes a handle, or a class or name and a key")
        else:
            target = Target(name=self.name_of(actor), key=key_parts(key))
        request = Lifecycle(
            namespace=self.namespace,
            target=target,
            idempotency_key=check_idempotency_key(idempotency_key),
            timeout=self._timeout(timeout),
        )
        return await self.transport.destroy(request)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is not pickled: make one in the other process")

    def _timeout(self, own: float | None) -> float | None:
        timeout = self.timeout if own is None else check_timeout(own)
        return None if timeout == math.inf else timeout

    def _handle(self, actor: type[A] | str, target: Target, params: Any) -> A | ActorHandle:
        options = DEFAULTS if params is None else Options(params=params)
        if isinstance(actor, str):
            return ActorHandle(self, target, None, options)
        # To the type checker a handle is the actor: what a client may call, it has.
        return cast(A, ActorHandle(self, target, actor, options))

    def _input(self, value: Any) -> Encoded | None:
        return encode_value(value, self.encoding)


class Client(BaseClient):
    """A client of one server. See the module's docstring.

    `address` is "host:port", "[::1]:6430" or "unix:/path"; `namespace` that of the actors.
    `token` is sent with every call as a bearer token: a string, or a function, plain or
    `async`, that gives one; see `renew_token`. `tls` is False for plain text, True
    for TLS with the system's roots, or a `TlsConfig`. `timeout` is the deadline of a call
    with all its retries, in seconds; None waits for ever. `encoding` is that of arguments
    and results, a member of `holdfast.payload.Encoding` or its name, "json". `session` is
    whether calls share one stream where the server offers that; without it each is an RPC
    of its own, and there are no connections. `gateway` is the URL of the server's gateway,
    "http://127.0.0.1:6420", for `fetch`, `websocket` and `get_gateway_url` of its handles;
    these need `pip install 'holdfast[http]'`.

    Making a client opens nothing; its first call does, and retries until its deadline
    while the server cannot be reached. Raises ValueError or TypeError for an argument that
    cannot be one. After `close` every call raises HoldfastError, and so does a call from
    another event loop than the first one's, or in a forked process.
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
        super().__init__(None, namespace=namespace, timeout=timeout, encoding=encoding)
        if not isinstance(tls, (bool, TlsConfig)):
            raise TypeError(f"tls is True, False or a TlsConfig, not {type(tls).__name__}")
        self.address: str = check_address(address)
        self._token = check_source(token)
        self._tls = tls
        self._session = session
        self.gateway: str | None = check_gateway(gateway)
        self._http: HttpRaw | None = None
        self._grpc: GrpcTransport | None = None
        self._observer: RpcObserver | None = None

    @property
    def transport(self) -> GrpcTransport:
        """The gRPC transport; opened when first used, on the loop that runs then."""
        if self._closed:
            raise HoldfastError("the client is closed")
        if self._grpc is None:
            # Here, so that actors, which have another transport, never import grpc.
            from holdfast._grpc import GrpcTransport, open_channel
            from holdfast._session_transport import SessionTransport

            made = SessionTransport if self._session else GrpcTransport
            self._grpc = made(open_channel(self.address, self._tls), token=self._token)
            self._grpc.observer = self._observer
        return self._grpc

    def renew_token(self, token: TokenSource) -> None:
        """Go on with another token, or another function that gives it.

        From now on calls show this one, and an open session goes on with it at once: nothing
        that is open in it is touched. A function is asked before each RPC and each opening of
        a session, and every 20 s while one is open; a token that the server refuses is tried
        again where the function gives another. Raises TypeError or ValueError for what is no
        token.
        """
        self._token = check_source(token)
        if self._grpc is not None:
            self._grpc.tokens.renew(self._token)
        if self._http is not None:
            self._http.tokens.renew(self._token)

    @property
    def _raw(self) -> RawTransport:
        """What carries raw requests and WebSockets; HoldfastError without a gateway."""
        if self._closed:
            raise HoldfastError("the client is closed")
        if self.gateway is None:
            raise HoldfastError(
                "raw requests go to the gateway: Client(..., gateway='http://127.0.0.1:6420')"
            )
        if self._http is None:
            try:
                # Here, so that whoever makes no raw request needs no HTTP client.
                from holdfast._http import HttpRaw
            except ModuleNotFoundError as error:
                raise HoldfastError(
                    f"raw requests need an HTTP client ({error.name} is missing): "
                    "pip install 'holdfast[http]'"
                ) from error
            self._http = HttpRaw(self.gateway, self._token, self._resolve)
        return self._http

    async def _resolve(self, namespace: str, target: Target) -> str:
        return await ActorHandle(self, target).resolve()

    def observe(self, observer: RpcObserver) -> None:
        """Let `observer` see the RPCs of this client from now on; see `holdfast.contrib`."""
        self._observer = observer
        if self._grpc is not None:
            self._grpc.observer = observer

    async def close(self) -> None:
        """Close the channel; calls under way fail with a HoldfastError."""
        self._closed = True
        if self._http is not None:
            await self._http.close()
        if self._grpc is not None:
            await self._grpc.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<holdfast.Client {self.address} namespace={self.namespace!r}>"


__all__ = ["ActorInfo", "BaseClient", "Client", "Key"]
