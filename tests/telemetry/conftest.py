"""A real server, a real collector, and a client that speaks of a trace."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, use_span

from holdfast import Client, Registry
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.api import Store
from tests.telemetry.actors import registry
from tests.telemetry.collector import Collector, collecting

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACE_ID, SPAN_ID = f"{TRACE:032x}", f"{SPAN:016x}"

Start = Callable[..., Awaitable[tuple[Server, Client]]]


def caller(state: str = "", *, sampled: bool = True) -> Any:
    """Code in this block belongs to a span that began elsewhere."""
    context = SpanContext(
        TRACE,
        SPAN,
        is_remote=False,
        trace_flags=TraceFlags(int(sampled)),
        trace_state=TraceState.from_header([state]),
    )
    return use_span(NonRecordingSpan(context))


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine decides how a test goes."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """What servers that start from now on send their spans to."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    opened: list[tuple[Server, Client]] = []

    async def run(
        actors: Registry = registry, *, store: Store | None = None, **settings: object
    ) -> tuple[Server, Client]:
        flags = {"data": str(tmp_path / "data"), "grpc": "127.0.0.1:0", **settings}
        server = Server(actors, load({}, **flags), store)
        await server.start()
        client = Client(f"127.0.0.1:{server.port}")
        opened.append((server, client))
        return server, client

    yield run
    for server, client in opened:
        await client.close()
        if not server.node.closed:
            await server.stop()
