"""A server without sessions in front of a real one: it passes every other RPC on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

SESSIONS = "/holdfast.v1.SessionService/"
# What belongs to one hop only.
_OWN = ("user-agent", "grpc-accept-encoding", "te", "content-type")


class _Passing(grpc.GenericRpcHandler):
    """Every method, as a stream of bytes each way."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.methods: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = str(details.method)
        self.methods.append(method)
        if method.startswith(SESSIONS):
            return None
        call: Any = self._channel.stream_stream(method)

        async def passing(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            metadata = [(k, v) for k, v in context.invocation_metadata() if k not in _OWN]
            rpc = call(requests, metadata=metadata, timeout=context.time_remaining())
            try:
                async for answer in rpc:
                    yield answer
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                await context.abort(error.code(), error.details() or "")
            finally:
                rpc.cancel()

        return grpc.stream_stream_rpc_method_handler(passing)


@asynccontextmanager
async def sessionless(address: str) -> AsyncIterator[tuple[str, list[str]]]:
    """The address of such a server in front of `address`, and the methods that were called."""
    async with grpc.aio.insecure_channel(address) as channel:
        passing = _Passing(channel)
        server = grpc.aio.server(handlers=[passing])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}", passing.methods
        finally:
            await server.stop(0)


__all__ = ["SESSIONS", "sessionless"]
