"""A bare grpc.aio server: what any Python gRPC server pays for a unary call.

It answers each InvokeAction with bytes of the size of an actor's answer, and
neither reads a message nor makes one.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

SERVICE = "holdfast.v1.ActorService"


async def serve(port: int, response: bytes) -> None:
    """Answer every call with `response`."""

    async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return response

    server = grpc.aio.server()
    handlers: Any = {"InvokeAction": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
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
