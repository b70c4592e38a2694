"""Finds what serves a request: the server itself, its RPCs, the management of actors, or an
actor."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.roles import role_of_endpoint
from holdfast_server.gateway import endpoints
from holdfast_server.gateway.actor import BANNER, ActorDoor
from holdfast_server.gateway.actors import PATH, Actors, names_json
from holdfast_server.gateway.client import opening_of, wire_limits
from holdfast_server.gateway.connect.door import ConnectDoor, is_rpc
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.failures import METHOD_NOT_ALLOWED, Told, failure_of
from holdfast_server.gateway.openapi.document import document
from holdfast_server.gateway.routes import named_route, path_route
from holdfast_server.gateway.transport import to_json
from holdfast_server.gateway.websocket import Sockets

# What clients look for before they trust a server.
_RUNTIME = "rivetkit"


class Router:
    """The routes of one gateway that has a node."""

    def __init__(self, desk: Desk, sockets: Sockets) -> None:
        self.desk = desk
        self._actors = Actors(desk)
        self._wire = wire_limits(desk.limits)
        self._door = ActorDoor(desk, sockets)
        self.rpcs = ConnectDoor(desk)

    async def route(self, exchange: Exchange) -> web.StreamResponse:
        """The response to a request of a page that may ask."""
        if exchange.wants_websocket:
            if self.desk.calls.draining:
                raise HoldfastError(errors.SERVER_DRAINING)
            return await self._connect(exchange)
        if is_rpc(exchange.path):
            return await self.rpcs.answer(exchange)
        own = self._own(exchange)
        if own is not None:
            return own
        task = self.desk.calls.enter()
        try:
            return await self._answer(exchange)
        finally:
            self.desk.calls.leave(task)

    def _own(self, exchange: Exchange) -> web.Response | None:
        """What is answered without a token, also while the server drains."""
        method = exchange.http.method
        found = endpoints.find(endpoints.OWN, "GET" if method == "HEAD" else method, exchange.path)
        match found:
            case ("banner", _):
                return exchange.answer(BANNER.encode(), "text/plain; charset=utf-8")
            case ("health", _):
                return self._health(exchange)
            case ("metadata", _):
                return exchange.answer_json(self._metadata(exchange))
            case ("openapi", _):
                return exchange.answer(self._openapi)
        return None

    @cached_property
    def _openapi(self) -> bytes:
        desk = self.desk
        return to_json(document(desk.procedures.all, desk.version, guarded=desk.guard.checks))

    def _health(self, exchange: Exchange) -> web.Response:
        desk = self.desk
        answer = {"status": "ok", "runtime": _RUNTIME, "version": desk.version}
        reason = "the server is draining" if desk.calls.draining else desk.node.recovery.reason
        if not reason:
            return exchange.answer_json(answer)
        return exchange.answer_json({**answer, "status": "unavailable", "reason": reason}, 503)

    def _metadata(self, exchange: Exchange) -> dict[str, Any]:
        """What clients ask for first, and wait for until they get it. Names are shown to those
        who may call them."""
        identity = self.desk.guard.identify(exchange.tokens(), exchange.http.transport)
        admitted = identity is not None and identity.role >= role_of_endpoint("names")
        return {
            "runtime": _RUNTIME,
            "version": self.desk.version,
            "runner": {"kind": {"normal": {}}},
            "actorNames": names_json(self.desk) if admitted else {},
        }

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        desk, headers = self.desk, exchange.http.headers
        response: web.StreamResponse | None = None
        if exchange.path == PATH or exchange.path.startswith(PATH + "/"):
            found = endpoints.find(endpoints.ACTORS, exchange.http.method, exchange.path)
            exchange.auth = desk.guard.authorize(
                exchange.tokens(), "names" if found is None else found[0], exchange.http.transport
            )
            response = await self._actors.answer(exchange)
        else:
            path, query = exchange.path, exchange.query
            kind, actor = headers.get("x-rivet-target"), headers.get("x-rivet-actor")
            route = path_route(path, query, self._wire) or named_route(
                path, query, kind, actor, None
            )
            if route is not None:
                exchange.auth = desk.guard.authorize(
                    [*exchange.tokens(), route.token], "act", exchange.http.transport
                )
                response = await self._door.answer(exchange, route)
        if response is None:
            raise _no_route(exchange)
        return response

    async def _connect(self, exchange: Exchange) -> web.StreamResponse:
        path, query = exchange.path, exchange.query
        offer = opening_of(exchange, self._wire)
        route = path_route(path, query, self._wire) or named_route(
            path, query, offer.target, offer.actor_id, offer.token
        )
        response = None
        if route is not None:
            response = await self._door.connect(exchange, route, offer)
        if response is None:
            raise _no_route(exchange)
        return response


def _no_route(exchange: Exchange) -> Exception:
    shown = exchange.shown_path[:256]
    error = HoldfastError(
        errors.ROUTE_NOT_FOUND,
        f"nothing is served under {exchange.http.method} {shown}",
        metadata={"path": shown},
    )
    allowed = endpoints.methods_of(exchange.path)
    if not allowed:
        return error
    exchange.answer_headers["allow"] = ", ".join(allowed)
    return Told(replace(failure_of(error), status=METHOD_NOT_ALLOWED))
