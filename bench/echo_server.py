"""A bare grpc.aio server: what any Python gRPC server pays for a call, or a frame.

It answers each InvokeAction with bytes of the size of an actor's answer, and each
frame of an OpenSession with as many bytes as its client's metadata asks for. It
neither reads a message nor makes one.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

SERVICE, SESSIONS = "holdfast.v1.ActorService", "holdfast.v1.SessionService"
# Metadata of a stream: the size of each answer.
ANSWER_BYTES = "answer-bytes"


async def serve(port: int, response: bytes) -> None:
    """Answer every call with `response`."""

    async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return response

    async def echo_frames(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        asked: dict[str, Any] = dict(context.invocation_metadata() or ())
        answer = bytes(int(asked[ANSWER_BYTES]))
        while await context.read() is not grpc.aio.EOF:
            await context.write(answer)

    server = grpc.aio.server()
    unary: Any = {"InvokeAction": grpc.unary_unary_rpc_method_handler(echo)}
    streams: Any = {"OpenSession": grpc.stream_stream_rpc_method_handler(echo_frames)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, unary),
            grpc.method_handlers_generic_handler(SESSIONS, streams),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main(port: str, size: str, loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        factory: Any = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(port), bytes(int(size))))


if __name__ == "__main__":
    main(*sys.argv[1:])
