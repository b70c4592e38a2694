"""Where a call's time goes in the server: the steps of the interpreter, and the time, by part.

The server's own handlers run in this process over a store on disk, without gRPC and the
network, and call themselves: calls in frames of a session, and as unary RPCs. What each
part of the server takes is told in two ways. Steps are instructions of Python's
interpreter, counted one by one: they depend on nothing but the code, and so tell a change of
it also on a busy machine. Microseconds are CPU time of the loop's thread, without any
counting, shared out by looking, each millisecond of it, at the code that runs; they hold
what is not Python too, as RocksDB's write.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import grpc.aio
import uvloop

from bench.actors import registry
from bench.calls import METHOD, Calls
from bench.servers import ROOT, data_directory
from bench.table import machine, write
from holdfast.v1 import actor_service_pb2, payload_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.config import Config
from holdfast_server.process.system import spare_the_collector
from holdfast_server.server import Server

COMMAND = "python -m bench.budget"
BEGIN, END = "<!-- budget: begin -->", "<!-- budget: end -->"
_SESSION: Final = "/holdfast.v1.SessionService/OpenSession"
_MSGPACK: Final = payload_pb2.PAYLOAD_ENCODING_MSGPACK
_FRAME_CALLS: Final = 64
_FRAMES_AHEAD: Final = 4
_SAMPLE_S: Final = 0.001

# The parts, each with the beginnings of its files' names; the first that fits counts.
_PARTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("RocksDB: filling and writing its batch", ("holdfast_server/store/rocks",)),
    (
        "the group: joining batches, starting syncs, releasing answers",
        ("holdfast_server/runtime/committer", "holdfast_server/core/pace"),
    ),
    (
        "the key: its claim, its stored reply",
        (
            "holdfast_server/runtime/keyed",
            "holdfast_server/runtime/reply_sweep",
            "holdfast_server/core/replies",
        ),
    ),
    ("rows and their keys", ("holdfast_server/store/",)),
    (
        "the handler: arguments, state, result",
        ("holdfast_server/runtime/runners/", "holdfast/", "bench/actors"),
    ),
    (
        "the turn: its actor, its place, its effects",
        ("holdfast_server/runtime/", "holdfast_server/telemetry/", "holdfast_server/core/mailbox"),
    ),
    ("answers into frames", ("holdfast_server/rpc/session/outbox",)),
    (
        "from the message to a checked call",
        (
            "holdfast_server/rpc/convert",
            "holdfast_server/rpc/session/terms",
            "holdfast_server/rpc/trace",
            "holdfast_server/core/",
        ),
    ),
    ("the session, or the RPC", ("holdfast_server/rpc/",)),
)
_REST: Final = "asyncio, protobuf's frames, the rest"
# The look at idle actors once a second, which no call pays for.
_SWEEP: Final = frozenset({"_sweep", "sweep", "_evict", "_to_the_end", "held_awake"})
_NOBODYS: Final = "the sweep"


@dataclass(frozen=True, slots=True)
class Size:
    """How many calls are timed and, apart, counted; of how many actors."""

    timed: int = 50_000
    counted: int = 2_048
    actors: int = 1_000


FULL = Size()


@dataclass(slots=True)
class Budget:
    """What one path takes: steps and microseconds of a call, by part."""

    steps: Counter[str] = field(default_factory=Counter)
    microseconds: Counter[str] = field(default_factory=Counter)


def _part_of(frame: FrameType | None) -> str:
    """The part of the innermost code that belongs to one."""
    while frame is not None:
        path = frame.f_code.co_filename
        if frame.f_code.co_name in _SWEEP and path.endswith(("catalog.py", "activation.py")):
            return _NOBODYS
        for name, beginnings in _PARTS:
            if any(f"/{beginning}" in path for beginning in beginnings):
                return name
        # Code that dataclasses and named tuples make is in no file: whoever calls it pays.
        frame = frame.f_back if path.startswith("<") else None
    return _REST


class _Context:
    """What handlers ask of gRPC's context."""

    def __init__(self, frames: Callable[[], Awaitable[Any]], said: Callable[[Any], None]) -> None:
        self.read = frames
        self._said = said

    async def write(self, frame: Any) -> None:
        self._said(frame)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float:
        return 30.0

    def peer(self) -> str:
        return "bench"


class _Handlers:
    """Takes the handlers of the services in place of a gRPC server."""

    def __init__(self) -> None:
        self.by_method: dict[str, Any] = {}

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.by_method |= {f"/{service}/{name}": each for name, each in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same in a form that is not needed here."""


class Session:
    """Calls in the frames of one session."""

    def __init__(self, handlers: _Handlers, actors: int) -> None:
        self._handler = handlers.by_method[_SESSION]
        self._actors = actors
        self._next = 1
        self._left = 0
        self._open = 0
        self._more = asyncio.Event()
        self._done = asyncio.Event()
        self._context = _Context(self._read, self._said)
        self._task = asyncio.ensure_future(self._handler.stream_stream(None, self._context))
        self._hello: pb.OpenSessionRequest | None = pb.OpenSessionRequest()
        hello = self._hello.commands.add().hello
        hello.protocol, hello.client_id = 1, bytes(16)

    async def run(self, calls: int) -> int:
        """Make so many calls, or a few more; their number."""
        self._done.clear()
        frames = -(-calls // _FRAME_CALLS)
        self._left = frames
        self._more.set()
        await self._done.wait()
        return frames * _FRAME_CALLS

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> Any:
        hello, self._hello = self._hello, None
        if hello is not None:
            return hello
        while not self._left or self._open >= _FRAMES_AHEAD * _FRAME_CALLS:
            self._more.clear()
            await self._more.wait()
        self._left -= 1
        self._open += _FRAME_CALLS
        return pb.OpenSessionRequest.FromString(self._frame())

    def _frame(self) -> bytes:
        frame = pb.OpenSessionRequest()
        for number in range(self._next, self._next + _FRAME_CALLS):
            command = frame.commands.add(stream=number)
            call = command.call
            actor = call.target.get_or_create
            actor.name = "counter"
            actor.key.extend(("bench", f"{number % self._actors:06d}"))
            call.action, call.accept_encoding = "increment", _MSGPACK
            call.number = number
            call.acknowledged_below = max(1, number - _FRAMES_AHEAD * _FRAME_CALLS)
            call.timeout_ms = 30_000
        self._next += _FRAME_CALLS
        return frame.SerializeToString()

    def _said(self, frame: pb.OpenSessionResponse) -> None:
        frame.SerializeToString()
        for answer in frame.answers:
            kind = answer.WhichOneof("answer")
            if kind == "end":
                raise AssertionError(f"a call failed: {answer.end.message}")
            self._open -= kind == "result"
        if not self._left and not self._open:
            self._done.set()
        self._more.set()


class Unary:
    """Calls as RPCs, so many at once as a session has in four frames."""

    def __init__(self, handlers: _Handlers, actors: int) -> None:
        self._handler = handlers.by_method[METHOD]
        self._calls = Calls("counter", "increment", actors)
        self._next = 1
        self._left = 0
        self._lowest: dict[int, None] = {}

    async def run(self, calls: int) -> int:
        """Make so many calls; their number."""
        self._left = calls
        await asyncio.gather(*(self._caller() for _ in range(_FRAMES_AHEAD * _FRAME_CALLS)))
        return calls

    async def close(self) -> None:
        """Nothing is open."""

    async def _caller(self) -> None:
        context: Any = _Context(self._none, lambda _: None)
        parse = actor_service_pb2.InvokeActionRequest.FromString
        while self._left > 0:
            self._left -= 1
            number, self._next = self._next, self._next + 1
            self._lowest[number] = None
            request = parse(self._calls(number, next(iter(self._lowest))))
            # A task for each, as gRPC makes them.
            task = asyncio.ensure_future(self._handler.unary_unary(request, context))
            (await task).SerializeToString()
            del self._lowest[number]

    async def _none(self) -> Any:
        return grpc.aio.EOF


class _Steps:
    """Counts instructions by part."""

    def __init__(self) -> None:
        self.by_part: Counter[str] = Counter()
        self._parts: dict[Any, str] = {}

    def _entered(self, frame: FrameType, event: str, arg: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            code = frame.f_code
            part = self._parts.get(code)
            if part is None:
                part = _part_of(frame)
                if not code.co_filename.startswith("<"):
                    self._parts[code] = part
            self.by_part[part] += 1
        return self._step

    async def count(self, path: Session | Unary, calls: int) -> Counter[str]:
        """Steps of one call."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            for frame in task.get_stack():
                frame.f_trace, frame.f_trace_opcodes, frame.f_trace_lines = self._step, True, False
        sys.settrace(self._entered)
        try:
            made = await path.run(calls)
        finally:
            sys.settrace(None)
        del self.by_part[_NOBODYS]
        return Counter({part: round(count / made) for part, count in self.by_part.items()})


async def _time(path: Session | Unary, calls: int) -> Counter[str]:
    """Microseconds of one call, by part."""
    seen: Counter[str] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        seen[_part_of(frame)] += 1

    before = signal.signal(signal.SIGPROF, look)
    began = time.thread_time()
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_S, _SAMPLE_S)
    try:
        made = await path.run(calls)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    del seen[_NOBODYS]
    took_us = (time.thread_time() - began) / made * 1e6
    looks = max(1, seen.total())
    return Counter({part: took_us * count / looks for part, count in seen.items()})


@asynccontextmanager
async def _handlers(data: Path) -> AsyncIterator[_Handlers]:
    server = Server(registry, Config(data=str(data), grpc="127.0.0.1:0", http="off", admin="off"))
    await server.start()
    try:
        handlers: Any = _Handlers()
        server.listener.register(handlers)
        spare_the_collector()
        yield handlers
    finally:
        await server.stop()


async def _measure(size: Size) -> dict[str, Budget]:
    budgets: dict[str, Budget] = {}
    for name, kind in (("session", Session), ("unary", Unary)):
        with data_directory() as directory:
            async with _handlers(directory / "data") as handlers:
                path = kind(handlers, size.actors)
                await path.run(max(size.actors, size.counted))
                budget = budgets[name] = Budget(microseconds=await _time(path, size.timed))
                budget.steps = await _Steps().count(path, size.counted)
                await path.close()
    return budgets


def measure(size: Size = FULL) -> dict[str, Budget]:
    """The budgets of both paths, by name."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(size))


def render(budgets: dict[str, Budget], size: Size, now: datetime) -> str:
    """The budgets as Markdown."""
    session, unary = budgets["session"], budgets["unary"]
    lines = [
        f"`{COMMAND}`, {now:%Y-%m-%d}, on {machine()}.",
        f"{size.actors:,} actors, {_FRAMES_AHEAD * _FRAME_CALLS} calls in flight.",
        "",
        "| part | session, steps | session, µs | unary, steps | unary, µs |",
        "|---|---|---|---|---|",
    ]
    for name in [*(name for name, _ in _PARTS), _REST]:
        lines.append(
            f"| {name} | {session.steps[name]:,} | {session.microseconds[name]:.1f} "
            f"| {unary.steps[name]:,} | {unary.microseconds[name]:.1f} |"
        )
    lines.append(
        f"| in all | {session.steps.total():,} | {session.microseconds.total():.1f} "
        f"| {unary.steps.total():,} | {unary.microseconds.total():.1f} |"
    )
    return "\n".join(lines)


def main() -> None:
    text = render(measure(), FULL, datetime.now(UTC))
    print(text, flush=True)
    write(text, ROOT / "docs" / "performance.md", begin=BEGIN, end=END)


if __name__ == "__main__":
    main()
