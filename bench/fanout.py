"""Events from one actor to many subscribers, against a bare echo's messages.

An actor broadcasts numbers; the subscribers are the SDK's, in processes of their own,
and each must be told every number once, in order. A next turn is only begun while all
subscribers are at most a few turns behind, so that nothing is dropped for slowness.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

import msgspec

from bench.actors import Station
from bench.frames import Weight, echo, run
from bench.listeners import KEY, Listeners, listening
from bench.servers import ServerProcess, data_directory, echo_server, holdfast_server
from bench.table import Result, Row, show
from holdfast import Client
from holdfast.v1 import event_pb2, payload_pb2
from holdfast.v1 import session_service_pb2 as pb

COMMAND = "python -m bench.fanout"
# Turns whose events may be on their way.
_TURNS_AHEAD = 4
_ECHO_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Audience:
    """Subscribers, their sessions, and how many events a turn broadcasts."""

    subscribers: int
    sessions: int
    events_a_turn: int


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 1.5
    audiences: tuple[Audience, ...] = (
        Audience(1, 1, 100),
        Audience(100, 1, 10),
        Audience(10_000, 10, 1),
    )


FULL = Size()


@dataclass(slots=True)
class Measured:
    """Events delivered a second, durable and ephemeral, and the server's CPU for one."""

    rates: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    cpu_us: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})


def _event_bytes() -> float:
    """Size of the frame of one event."""
    args = payload_pb2.Payload(
        encoding=payload_pb2.PAYLOAD_ENCODING_MSGPACK, data=msgspec.msgpack.encode([10_000])
    )
    event = event_pb2.Event(name="told", args=args, sequence=10_000, previous_sequence=9_999)
    answer = pb.SessionAnswer(event=pb.SessionEvent(streams=[1], event=event))
    return len(pb.OpenSessionResponse(answers=[answer]).SerializeToString())


async def _publish(
    station: Station, listeners: Listeners, audience: Audience, ephemeral: bool, seconds: float
) -> tuple[int, float]:
    """Events that every subscriber was told, and the time that it took."""
    ahead: deque[int] = deque()
    turns = 0
    began = time.perf_counter()
    ends = began + seconds
    while time.perf_counter() < ends:
        number = await station.tell(audience.events_a_turn, ephemeral)
        turns += 1
        listeners.mark(number)
        ahead.append(number)
        if len(ahead) >= _TURNS_AHEAD:
            await listeners.reached(ahead.popleft())
    while ahead:
        await listeners.reached(ahead.popleft())
    return turns * audience.events_a_turn, time.perf_counter() - began


async def _measure(server: ServerProcess, audience: Audience, size: Size) -> Measured:
    measured = Measured()
    async with (
        Client(f"127.0.0.1:{server.port}") as client,
        listening(server.port, audience.subscribers, audience.sessions) as listeners,
    ):
        station = client.get_or_create(Station, KEY)
        await listeners.settle(station)
        for _ in range(size.rounds):
            for ephemeral, rates in measured.rates.items():
                cpu = server.cpu_seconds
                events, seconds = await _publish(
                    station, listeners, audience, ephemeral, size.seconds
                )
                delivered = events * audience.subscribers
                rates.append(delivered / seconds)
                measured.cpu_us[ephemeral].append((server.cpu_seconds - cpu) / delivered * 1e6)
    return measured


async def _echo(bare: ServerProcess, size: Size) -> float:
    """The messages of a second, one a frame."""
    weight = Weight(_event_bytes(), _event_bytes())
    async with echo(bare.port, weight, 1) as stream:
        await stream.run(_ECHO_IN_FLIGHT, frames=4 * _ECHO_IN_FLIGHT)
        runs = [await stream.run(_ECHO_IN_FLIGHT, seconds=size.seconds) for _ in range(size.rounds)]
    return median(each.frames / each.seconds for each in runs)


def measure(size: Size = FULL) -> Result:
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        bare = stack.enter_context(echo_server("uvloop"))
        server = stack.enter_context(holdfast_server(directory))
        for audience in size.audiences:
            measured = run(_measure(server, audience, size))
            rows += _rows(audience, measured, run(_echo(bare, size)))
    return Result(COMMAND, size.rounds, rows)


def _rows(audience: Audience, measured: Measured, messages: float) -> Iterator[Row]:
    to = "1 subscriber" if audience.subscribers == 1 else f"{audience.subscribers:,} subscribers"
    for ephemeral, rates in measured.rates.items():
        yield Row(
            f"{'ephemeral' if ephemeral else 'durable'} events to {to}, "
            f"{audience.events_a_turn} a turn",
            f"{median(rates):,.0f}/s, {median(measured.cpu_us[ephemeral]):.1f} µs CPU",
            f"stream echo, 1 message a frame: {messages:,.0f}/s",
            f"{median(rates) / messages:.2f}",
        )


if __name__ == "__main__":
    show([measure()], COMMAND)
