"""The Connect protocol: the RPCs of one server as requests of HTTP.

A request becomes a message and a caller, and goes to the handler that gRPC has. A unary RPC is
answered with one response; one that streams with envelopes, of which the last says how it
ended. https://connectrpc.com/docs/protocol is the contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.gateway.connect import asking, messages
from holdfast_server.gateway.connect.certificate import properties_of
from holdfast_server.gateway.connect.told import (
    CODES,
    end_of,
    error_of,
    header_text,
    name_of,
    retry_after_s,
)
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import ERROR, Exchange, header
from holdfast_server.gateway.failures import METHOD_NOT_ALLOWED
from holdfast_server.gateway.transport import to_json
from holdfast_server.runtime.calls import told
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.fronts import ClientGone
from holdfast_server.runtime.procedures import (
    Caller,
    Metadata,
    Procedure,
    Procedures,
    RpcCall,
    RpcFailed,
)

# What begins the path of every RPC.
_SERVICES: Final = ("/holdfast.v1.", "/grpc.health.v1.")
# The service that answers without a token.
UNGUARDED: Final = frozenset({"grpc.health.v1.Health"})
_TRAILER: Final = "trailer-"
_NOT_FOUND: Final = 404
UNSUPPORTED_TYPE: Final = 415
_VERSION_NOT_SUPPORTED: Final = 505


def is_rpc(path: str) -> bool:
    """Whether a path is that of an RPC, or of none that there is."""
    return path.startswith(_SERVICES)


def refuse(exchange: Exchange, error: HoldfastError, procedures: Procedures | None) -> web.Response:
    """The answer to an RPC that goes no further; while there is no server to ask, without
    details."""
    if procedures is not None:
        return _refusal(exchange, procedures.failure_of(error))
    failed = RpcFailed(error.reason.status, error.message, ())
    return _refusal(exchange, failed, retry_s=error.reason.retry_after_s)


class ConnectDoor:
    """The way to the RPCs of one node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._procedures = desk.procedures

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """The answer to a request of a page that may ask."""
        procedure = self._procedures.find(exchange.path)
        if procedure is None:
            error = HoldfastError(
                errors.RPC_UNIMPLEMENTED, f"there is no RPC {exchange.path[:256]}"
            )
            return self._refuse(exchange, error, _NOT_FOUND)
        method = procedure.method
        if method.client_streaming:
            error = HoldfastError(
                errors.RPC_UNIMPLEMENTED,
                f"{method.name} streams both ways, which this protocol does over HTTP/2 only; "
                "it is served by gRPC",
            )
            response = self._refuse(exchange, error, _VERSION_NOT_SUPPORTED)
            response.force_close()
            return response
        allowed = ["POST"]
        if procedure.reads and not method.server_streaming:
            allowed.append("GET")
        if exchange.http.method not in allowed:
            error = invalid("method", f"is {exchange.http.method}; this RPC takes {allowed}")
            headers = {"allow": ", ".join(allowed)}
            return self._refuse(exchange, error, METHOD_NOT_ALLOWED, headers)
        try:
            if method.server_streaming:
                return await self._stream(exchange, procedure)
            return await self._unary(exchange, procedure)
        except asking.WrongType as wrong:
            headers = {"accept-post": wrong.accepted}
            return self._refuse(exchange, wrong.error, UNSUPPORTED_TYPE, headers)

    # One response

    async def _unary(self, exchange: Exchange, procedure: Procedure) -> web.Response:
        http = exchange.http
        query = None
        if http.method == "GET":
            query = asking.query_of(exchange.query, http.headers)
            encoding = query.encoding
        else:
            encoding = asking.content_encoding(http.headers, streams=False)
        limit = messages.bytes_max(encoding, self._procedures.message_bytes_max)
        try:
            coding = query.coding if query else asking.coding(http.headers, streams=False)
            caller = self._caller(exchange)
            async with Expiring(caller.deadline):
                call = await self._procedures.begin(procedure, caller)
                sent = query.data if query else await exchange.read(limit)
                data = messages.unpack(sent, coding.request, limit)
                message = await call.answer(messages.decode(encoding, data, procedure.request))
        except RpcFailed as failed:
            return _refusal(exchange, failed)
        except ConnectionError:
            raise
        except Exception as error:
            return self._refuse(exchange, told(error))
        body = messages.encode(encoding, message)
        headers = {**_trailers(call.trailing), "vary": "Origin, Accept-Encoding"}
        if query is not None:
            # What is read is what is durable at that moment.
            headers["cache-control"] = "no-store"
        if coding.packs(len(body)):
            body, headers["content-encoding"] = messages.pack(body), coding.response
        return exchange.answer(body, asking.UNARY + encoding, headers=headers)

    # Many

    async def _stream(self, exchange: Exchange, procedure: Procedure) -> web.StreamResponse:
        encoding = asking.content_encoding(exchange.http.headers, streams=True)
        try:
            coding = asking.coding(exchange.http.headers, streams=True)
        except HoldfastError as error:
            return self._refuse(exchange, error)
        response = Stream(exchange, encoding, coding)
        failed, call = None, None
        try:
            caller = self._caller(exchange)
            async with Expiring(caller.deadline):
                call = await self._procedures.begin(procedure, caller)
                await self._serve(exchange, procedure, call, response)
        except RpcFailed as failure:
            failed = failure
        except ClientGone:
            response.cut()
        except ConnectionError:
            raise
        except Exception as error:
            failed = self._procedures.failure_of(told(error))
        except asyncio.CancelledError:
            cut = self._desk.calls.was_cut(asyncio.current_task())
            if cut is None:
                raise
            failed = self._procedures.failure_of(cut)
        return await response.end(failed, () if call is None else call.trailing)

    async def _serve(
        self, exchange: Exchange, procedure: Procedure, call: RpcCall, response: Stream
    ) -> None:
        limit = messages.bytes_max(response.encoding, self._procedures.message_bytes_max)
        body = await exchange.read(messages.enveloped_max(limit))
        data = messages.only_message(body, response.coding, limit)
        request = messages.decode(response.encoding, data, procedure.request)
        await response.begin()
        async with aclosing(call.items(request)) as items:
            async for item in items:
                await response.send(messages.encode(response.encoding, item))

    # Both

    def _caller(self, exchange: Exchange) -> Caller:
        headers = exchange.http.headers
        asking.check_version(headers)
        timeout_s = asking.timeout_s(headers)
        now = asyncio.get_running_loop().time()
        return Caller(
            metadata=asking.metadata(headers),
            deadline=None if timeout_s is None else now + timeout_s,
            peer=_peer(exchange),
            certificate=properties_of(exchange.http.transport),
        )

    def _refuse(
        self,
        exchange: Exchange,
        error: HoldfastError,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        failed = self._procedures.failure_of(error)
        return _refusal(exchange, failed, status, headers)


class Stream:
    """The response of an RPC that streams."""

    def __init__(self, exchange: Exchange, encoding: str, coding: messages.Coding) -> None:
        self.encoding = encoding
        self.coding = coding
        self._exchange = exchange
        headers = {**exchange.answer_headers, "content-type": asking.STREAM + encoding}
        if coding.response != messages.IDENTITY:
            headers["connect-content-encoding"] = coding.response
        self._response = web.StreamResponse(headers=headers)

    async def begin(self) -> None:
        """Send the headers."""
        try:
            await self._response.prepare(self._exchange.http)
        except ConnectionError:
            raise ClientGone from None

    async def send(self, data: bytes) -> None:
        """Send a message."""
        await self._exchange.write(self._response, messages.envelope(data, self.coding))

    async def end(self, failed: RpcFailed | None, trailing: Metadata) -> web.StreamResponse:
        """Say how it ended."""
        last = end_of(failed, trailing)
        try:
            if not self._response.prepared:
                if not self._exchange.http.content.is_eof():
                    # The rest of the body is not worth reading.
                    self._response.force_close()
                await self.begin()
            await self._exchange.write(
                self._response, messages.envelope(last, self.coding, end=True)
            )
        except ClientGone:
            self.cut()
        return self._response

    def cut(self) -> None:
        """End the connection of a client that takes nothing."""
        transport = self._exchange.http.transport
        if transport is not None:
            transport.abort()


def _refusal(
    exchange: Exchange,
    failed: RpcFailed,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    retry_s: float | None = None,
) -> web.Response:
    """The response of a failure: the end of a stream for whoever asked for a stream."""
    encoding = asking.stream_encoding(exchange.http.headers)
    all_headers = {**_trailers(failed.trailing), **(headers or {})}
    retry_s = retry_after_s(failed) if retry_s is None else retry_s
    if retry_s is not None:
        # Whole seconds, of which 0 would say nothing.
        all_headers["retry-after"] = str(max(1, round(retry_s)))
    if encoding is not None and status is None:
        plain = messages.Coding(messages.IDENTITY, messages.IDENTITY)
        body = messages.envelope(end_of(failed, failed.trailing), plain, end=True)
        response = exchange.answer(body, asking.STREAM + encoding)
    else:
        status = CODES[failed.status][1] if status is None else status
        name = name_of(failed)
        if name is not None:
            all_headers[ERROR] = header(name)
        if status == CODES["UNAUTHENTICATED"][1]:
            all_headers["www-authenticate"] = "Bearer"
        body = to_json(error_of(failed))
        response = exchange.answer(body, status=status, headers=all_headers)
    if not exchange.http.content.is_eof():
        # The rest of the body is not worth reading.
        response.force_close()
    return response


def _trailers(trailing: Metadata) -> dict[str, str]:
    return {_TRAILER + name: header_text(value) for name, value in trailing}


def _peer(exchange: Exchange) -> str:
    """The client's address as gRPC writes one."""
    if exchange.client is None:
        return "unix:"
    host, port = exchange.client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
