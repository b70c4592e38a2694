"""A server alone in its process: `python -m tests.telemetry.alone DIR [provider]`.

It answers one call that has a trace, and prints as JSON what the actors saw of
it and which modules of OpenTelemetry's SDK were loaded. With `provider` the
application has set a tracer provider of its own before the server starts.
"""

from __future__ import annotations

import asyncio
import json
import sys

from holdfast import Client
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.telemetry.actors import Relay, registry

# Kept apart from the server's own imports, to see what these load.
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def set_provider() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": "the application"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


async def main(data: str) -> None:
    server = Server(registry, load({}, data=data, grpc="127.0.0.1:0"))
    await server.start()
    async with Client(f"127.0.0.1:{server.port}") as client:
        seen = await ask(client)
    await server.stop()
    loaded = sorted(name for name in sys.modules if name.startswith("opentelemetry.sdk"))
    sys.stdout.write(json.dumps({"seen": seen, "loaded": loaded}))


async def ask(client: Client) -> str:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": PARENT}))
    try:
        return await client.get_or_create(Relay, ["a"]).ask("b")
    finally:
        context.detach(token)


if __name__ == "__main__":
    if "provider" in sys.argv:
        set_provider()
    asyncio.run(main(sys.argv[1]))
