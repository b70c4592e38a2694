"""Actors that call and tell each other, and say in which trace they ran."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from opentelemetry import trace

from holdfast import Actor, Context, Request, Response, UserError, WebSocket, action, setup


@dataclass
class Seen:
    traces: list[str] = field(default_factory=list)


def trace_of(c: Context[Seen]) -> str:
    """Trace and span id, as the lines of `c.log` say them."""
    extra = dict(c.log.extra or {})
    return f"{extra.get('trace_id', '')}/{extra.get('span_id', '')}"


class Relay(Actor[Seen]):
    """Passes on what it is told, and remembers in which trace."""

    state = Seen
    # Opens `hold`; the test's own.
    gate: asyncio.Event

    @action
    async def note(self, c: Context[Seen]) -> str:
        c.state.traces.append(trace_of(c))
        return c.state.traces[-1]

    @action(read_only=True)
    def traces(self, c: Context[Seen]) -> list[str]:
        return c.state.traces

    @action
    async def ask(self, c: Context[Seen], other: str) -> str:
        c.state.traces.append(trace_of(c))
        return await c.client.get_or_create(Relay, [other]).note()

    @action
    async def tell(self, c: Context[Seen], other: str, what: str = "note") -> str:
        c.send(Relay, [other], what)
        return trace_of(c)

    @action
    async def refuse(self, c: Context[Seen], secret: str = "") -> None:
        raise UserError(f"no {secret}", code="refused")

    @action
    async def crash(self, c: Context[Seen], secret: str = "") -> None:
        raise ValueError(secret)

    @action
    async def hold(self, c: Context[Seen]) -> None:
        await self.gate.wait()

    @action
    async def circle(self, c: Context[Seen], path: list[str]) -> None:
        if path:
            await c.client.get_or_create(Relay, [path[0]]).circle(path[1:])

    @action(read_only=True)
    def current(self, c: Context[Seen]) -> list[object]:
        span = trace.get_current_span().get_span_context()
        return [f"{span.trace_id:032x}/{span.span_id:016x}", span.trace_flags.sampled]

    @action
    async def plan(self, c: Context[Seen], other: str) -> str:
        with trace.get_tracer("somebody.else").start_as_current_span("plan"):
            return await c.client.get_or_create(Relay, [other]).note()

    @action
    async def log(self, c: Context[Seen]) -> None:
        c.log.info("from the actor", extra={"step": 1})
        logging.getLogger("somebody.else").warning("from a library")

    @action
    async def walk(self, c: Context[Seen], steps: int) -> AsyncIterator[str]:
        for _ in range(steps):
            c.state.traces.append(trace_of(c))
            yield trace_of(c)

    @action
    async def work_on(self, c: Context[Seen]) -> str:
        asyncio.get_running_loop().create_task(self._work(c))
        return trace_of(c)

    @action
    async def work_later(self, c: Context[Seen]) -> str:
        c.schedule.after(0, "note")
        return trace_of(c)

    async def _work(self, c: Context[Seen]) -> None:
        async with c.turn():
            c.state.traces.append(trace_of(c))


class Worker(Actor):
    """Its run fails at once."""

    async def run(self, c: Context) -> None:
        raise ValueError(f"hush {c.key[0]}")

    @action
    async def wake(self, c: Context) -> None:
        pass


class Site(Actor[Seen]):
    """Says in which trace each part of an answer, and each message, was made."""

    state = Seen

    async def on_request(self, c: Context[Seen], request: Request) -> Response:
        c.state.traces.append(trace_of(c))
        return Response(self.parts(c))

    async def parts(self, c: Context[Seen]) -> AsyncIterator[str]:
        for _ in range(2):
            yield trace_of(c) + " "

    async def on_websocket(self, c: Context[Seen], websocket: WebSocket) -> None:
        await websocket.send(trace_of(c))
        async for _ in websocket:
            await websocket.send(trace_of(c))


registry = setup(use={"relay": Relay, "site": Site, "worker": Worker})
