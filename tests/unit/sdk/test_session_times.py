"""The times of a session: pauses between tries, and beats; on time that the test owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest

from holdfast._retry import Backoff
from holdfast._session import Session
from holdfast._session_streams import Stream, local_error
from holdfast.v1 import session_service_pb2 as pb
from tests.server.virtual import VirtualLoop

CEILINGS = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


class Rpc:
    """An OpenSession call as gRPC gives it: answers, and then a failure."""

    def __init__(self, answers: list[pb.OpenSessionResponse], lives_s: float) -> None:
        self._answers = answers
        self._lives_s = lives_s

    async def write(self, _: Any) -> None:
        """Whatever is written arrives."""

    async def read(self) -> Any:
        if self._answers:
            return self._answers.pop(0)
        await asyncio.sleep(self._lives_s)
        raise local_error(grpc.StatusCode.UNAVAILABLE, "no server")

    def cancel(self) -> None:
        """Over."""


class Lasting(Stream):
    """Something that is opened again for ever."""

    lasting = True

    def fill(self, command: pb.SessionCommand) -> None:
        command.subscribe.SetInParent()


def welcome(*more: pb.SessionAnswer) -> list[pb.OpenSessionResponse]:
    """The frames of a server that lets the client in, and then says more."""
    first = pb.OpenSessionResponse()
    first.answers.add().welcome.streams_max = 10
    return [first, *(pb.OpenSessionResponse(answers=[answer]) for answer in more)]


PONG = pb.SessionAnswer(pong=pb.SessionPong(number=1))


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's body on time of its own."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(body())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def tries(rpcs: list[Rpc], random: Random) -> list[float]:
    """When each of these was opened."""
    loop = asyncio.get_running_loop()
    found: list[float] = []
    enough = asyncio.Event()

    async def connect() -> Rpc:
        found.append(loop.time())
        if len(found) == len(rpcs):
            enough.set()
        return rpcs[len(found) - 1]

    session = Session(
        connect, client_id=b"c" * 16, namespace="default", backoff=lambda: Backoff(random.random)
    )
    session.open(Lasting())
    await enough.wait()
    session.close()
    await session.closed()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_pauses_grow_to_a_bound_and_are_drawn_from_their_upper_half(seed: int) -> None:
    async def body() -> None:
        found = await tries([Rpc([], 0) for _ in range(len(CEILINGS) + 1)], Random(seed))
        pauses = [later - earlier for earlier, later in pairwise(found)]
        assert found[0] == 0
        for pause, ceiling in zip(pauses, CEILINGS, strict=True):
            assert ceiling / 2 <= pause <= ceiling + 1e-9

    run(body)


def test_two_clients_do_not_come_back_together() -> None:
    async def body() -> None:
        one, other = [await tries([Rpc([], 0) for _ in range(6)], Random(seed)) for seed in (1, 2)]
        start = other[0]
        assert not {round(at, 4) for at in one[1:]} & {round(at - start, 4) for at in other[1:]}

    run(body)


def test_a_session_that_served_begins_with_short_pauses_again() -> None:
    async def body() -> None:
        rpcs = [Rpc([], 0) for _ in range(8)] + [Rpc(welcome(PONG), 5.0), Rpc([], 0), Rpc([], 0)]
        found = await tries(rpcs, Random(1))
        assert found[9] - found[8] == pytest.approx(5.0, abs=0.06)
        assert found[10] - found[9] <= 0.1

    run(body)


def test_one_that_is_welcomed_and_ended_at_once_does_not() -> None:
    async def body() -> None:
        found = await tries([Rpc(welcome(), 0) for _ in range(9)], Random(1))
        assert found[-1] - found[-2] >= 1.0

    run(body)


def test_an_open_session_beats_at_each_ping() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        beats: list[float] = []

        async def connect() -> Rpc:
            return Rpc(welcome(PONG), 35.0)

        session = Session(
            connect,
            client_id=b"c" * 16,
            namespace="default",
            ping_s=15.0,
            beat=lambda: beats.append(loop.time()),
        )
        session.open(Lasting())
        await asyncio.sleep(34)
        session.close()
        await session.closed()
        assert beats == [15.0, 30.0]

    run(body)
