"""What is served of one actor: its actions, its queues, and the connections of its clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.checks import check_size
from holdfast_server.core.errors import ACTOR_NOT_FOUND, HoldfastError, invalid
from holdfast_server.core.ids import Address, check_key, check_name, parse_actor_id
from holdfast_server.gateway.client import (
    action_body_max,
    codec_of,
    params_of,
    tags_values,
    wire_limits,
)
from holdfast_server.gateway.connection import Connection, EventFrames
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.failures import Failure, Told, failure_of
from holdfast_server.gateway.raw import REQUEST, WEBSOCKET, answer_raw, raw_target, serve_raw
from holdfast_server.gateway.values import error_message, metadata_value, refused
from holdfast_server.gateway.websocket import Sockets, accept, reject
from holdfast_server.gateway.wire import (
    RESULT_ENCODING,
    TAGGED_VERSION,
    Codec,
    Error,
    HttpActionResponse,
    Opening,
    QueryTarget,
    WireError,
)
from holdfast_server.gateway.wire import Target as Route
from holdfast_server.gateway.wire.queries import unquote
from holdfast_server.runtime.calls import told

_ACTION: Final = "/action/"
_QUEUE: Final = "/queue/"
# The second is what the first clients in Rust asked for.
_CONNECT: Final = frozenset({"/connect", "/connect/websocket"})
BANNER: Final = "This is a Holdfast server.\n"

_Run = Callable[[Exchange, Route, Codec, str], Awaitable[web.StreamResponse]]


class ActorDoor:
    """The way to every actor of one node."""

    def __init__(self, desk: Desk, sockets: Sockets) -> None:
        self._desk = desk
        self._sockets = sockets
        self._wire = wire_limits(desk.limits)
        self._frames = EventFrames()

    async def answer(self, exchange: Exchange, route: Route) -> web.StreamResponse | None:
        """The answer to a request whose caller may ask; None when nothing is served there."""
        method, rest = exchange.http.method, route.path
        shown = raw_target(REQUEST, rest, route.query)
        if shown is not None:
            params = params_of(exchange, self._wire)
            return await answer_raw(
                self._desk, exchange, await self.target(exchange, route), shown, params
            )
        if rest.startswith(_ACTION):
            if method != "POST":
                return None
            return await self._encoded(exchange, route, self._act, rest[len(_ACTION) :])
        if rest.startswith(_QUEUE):
            if method != "POST":
                return None
            return await self._encoded(exchange, route, self._send, rest[len(_QUEUE) :])
        if method not in ("GET", "HEAD"):
            return None
        if rest == "/health":
            return exchange.answer(b"ok", "text/plain; charset=utf-8")
        if rest == "/metadata":
            return exchange.answer_json({"runtime": "rivetkit", "version": self._desk.version})
        if rest == "/":
            return exchange.answer(BANNER.encode(), "text/plain; charset=utf-8")
        return None

    async def _encoded(
        self, exchange: Exchange, route: Route, run: _Run, name: str
    ) -> web.StreamResponse:
        """Answer in the caller's encoding, errors too."""
        codec = codec_of(
            exchange.http.headers.get("x-rivet-encoding"),
            tagged=tags_values(exchange, route),
            limits=self._wire,
        )
        try:
            return await run(exchange, route, codec, _unquoted(name))
        except Told as known:
            failure = known.failure
        except ConnectionError:
            raise
        except Exception as error:
            failure = failure_of(told(error))
        body = codec.encode_error(error_message(failure))
        return exchange.refusal(failure, body, codec.content_type)

    async def _act(
        self, exchange: Exchange, route: Route, codec: Codec, name: str
    ) -> web.StreamResponse:
        limits = self._desk.limits
        if not name:
            raise invalid("action", "is required")
        body = await exchange.body(action_body_max(limits))
        try:
            request = codec.decode_action_request(body)
        except WireError as error:
            raise refused(error, "body") from None
        if request.version >= TAGGED_VERSION:
            codec = codec.for_tagged()
        if request.refused is not None:
            raise refused(request.refused, "args")
        check_size("args", len(request.args.data), limits.payload_bytes_max)
        call = Call(
            target=await self.target(exchange, route),
            action=name,
            args=request.args,
            accept=RESULT_ENCODING,
            trace=exchange.trace,
            params=params_of(exchange, self._wire),
            auth=exchange.auth,
        )
        answer = await self._desk.node.invoke(call)
        data = codec.encode_action_response(HttpActionResponse(answer.value))
        return exchange.answer(data, codec.content_type)

    async def _send(
        self, exchange: Exchange, route: Route, codec: Codec, name: str
    ) -> web.StreamResponse:
        await exchange.body(action_body_max(self._desk.limits))
        raise HoldfastError(
            errors.QUEUE_NOT_FOUND,
            f"the actor declares no queue {name[:128]!r}",
            metadata={"queue": name[:128]},
        )

    # Connections

    async def connect(
        self, exchange: Exchange, route: Route, offer: Opening
    ) -> web.StreamResponse | None:
        """Serve a connection to its end; None when no WebSocket is served there."""
        tokens = [*exchange.tokens(), route.token, offer.token]
        shown = raw_target(WEBSOCKET, route.path, route.query)
        if shown is not None:
            exchange.auth = self._desk.guard.authorize(tokens, "websocket", exchange.http.transport)
            target = await self.target(exchange, route)
            return await serve_raw(
                self._desk, self._sockets, exchange, target, shown, offer.params, tokens
            )
        if route.path not in _CONNECT:
            return None
        codec = codec_of(None, tagged=tags_values(exchange, route), limits=self._wire)
        try:
            codec = codec_of(offer.encoding, tagged=codec.tagged, limits=self._wire)
            exchange.auth = self._desk.guard.authorize(tokens, "connect", exchange.http.transport)
            target = await self.target(exchange, route)
        except HoldfastError as error:
            return await self._turn_away(exchange, codec, failure_of(error))
        socket = await accept(exchange, action_body_max(self._desk.limits))
        connection = Connection(
            self._desk, self._sockets, self._frames, exchange, socket, codec, tokens
        )
        await connection.run(target, offer.params)
        return socket

    async def _turn_away(
        self, exchange: Exchange, codec: Codec, failure: Failure
    ) -> web.StreamResponse:
        if failure.retried:
            return await reject(exchange, failure)
        said = Error(failure.group, failure.code, failure.message, metadata_value(failure))
        return await reject(exchange, failure, codec.encode_to_client(said))

    async def target(self, exchange: Exchange, route: Route) -> Target:
        """Whom a route names, if the caller may use the namespace that it is in."""
        if not isinstance(route, QueryTarget):
            try:
                # An id is of one namespace, which these clients do not name here.
                target = Target(actor_id=parse_actor_id(route.actor_id), namespace=None)
            except HoldfastError:
                raise HoldfastError(ACTOR_NOT_FOUND) from None
            if exchange.auth.namespaces is not None:
                _, record = await self._desk.node.lookup.get(target)
                if record.namespace not in exchange.auth.namespaces:
                    # That it is elsewhere is nothing to be told.
                    raise HoldfastError(ACTOR_NOT_FOUND)
                target.namespace = record.namespace
            return target
        check_name(route.name, "name")
        check_key(route.key, "rvt-key", self._desk.limits)
        namespace = exchange.namespace(route.namespace, self._desk.namespaces)
        return Target(
            address=Address(namespace, route.name, route.key),
            create=route.method == "getOrCreate",
            input=route.input,
        )


def _unquoted(name: str) -> str:
    try:
        return unquote(name, "name")
    except WireError as error:
        raise refused(error, "", errors.REQUEST_INVALID) from None
