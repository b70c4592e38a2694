"""A dialogue that is cut again and again, at random: nothing is lost, nothing comes twice.

The client keeps what a client keeps: its token, its connection, where its messages and
events stand, and its calls that were not answered. Meanwhile others talk, the actor
sleeps, and the server is started again. The client checks each number as it hears it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from random import Random

import grpc
import pytest

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from tests.server.conftest import Start
from tests.server.proxy import Proxy, proxy_to
from tests.server.session import (
    RawSession,
    acknowledge,
    call,
    connect,
    credit,
    hello,
    opened,
    subscribe,
    value_of,
)
from tests.server.stage import Stage
from tests.server.talk import registry
from tests.server.wire import target

TALK = target("talk", "a")
WIDE = 1 << 20
# Calls of a session begin at this stream.
CALLS = 10
OPENING_S = 5


class Talker:
    """A client with one connection and one subscription, across its sessions."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.said = 0
        self.token = b""
        self.connection = ""
        self.last = 0
        self.messages: list[str] = []
        self.events: list[str] = []
        # Calls that were not answered, by number.
        self.unanswered: dict[int, str] = {}
        self._streams: dict[int, int] = {}
        self._next = CALLS

    def begin(self, session: RawSession, window: int) -> None:
        """Go on: the connection, the subscription, the calls."""
        self._streams.clear()
        self._next = CALLS
        session.send(
            connect(
                1,
                TALK,
                None if self.connection else {"name": "ada"},
                resume_connection_id=self.connection,
                received_message=self.last,
                window_bytes=window,
            ),
            subscribe(2, TALK, from_sequence=len(self.events) + 1, window_bytes=window),
        )
        for number in sorted(self.unanswered):
            self._call(session, number)

    def say(self, session: RawSession) -> None:
        """Say one more thing."""
        self.said += 1
        self.unanswered[self.said] = f"ada {self.said}"
        self._call(session, self.said)

    def _call(self, session: RawSession, number: int) -> None:
        self._streams[self._next] = number
        counted = {"number": number, "acknowledged_below": min(self.unanswered)}
        session.send(call(self._next, TALK, "say", self.unanswered[number], **counted))
        self._next += 1

    def give(self, session: RawSession) -> None:
        """Let a little more come, and say what has arrived."""
        session.send(credit(self._rng.choice((1, 2)), self._rng.randrange(1, 60)))
        if self.last and self._rng.random() < 0.3:
            session.send(acknowledge(1, self.last))

    def hear(self, answer: pb.SessionAnswer) -> None:
        """Take in one answer, and check that it follows on what was heard before."""
        which = answer.WhichOneof("answer")
        if which == "welcome":
            self.token = answer.welcome.resume_token
        elif which == "connected":
            assert self.connection in ("", answer.connected.connection_id)
            self.connection = answer.connected.connection_id
        elif which == "subscribed":
            assert answer.subscribed.cursor.sequence == len(self.events)
        elif which == "message":
            message = answer.message
            assert (message.number, message.previous_number) == (self.last + 1, self.last)
            self.last += 1
            self.messages += json.loads(message.args.data)
        elif which == "event":
            event = answer.event.event
            place = len(self.events)
            assert (event.sequence, event.previous_sequence) == (place + 1, place)
            self.events += json.loads(event.args.data)
        elif which == "result":
            del self.unanswered[self._streams[answer.stream]]
        elif which == "end":
            # Ended with the server, or with its session: it is said again.
            assert answer.end.code in (1, 10, 14), answer


class World:
    """One server, which is started again, behind one address."""

    def __init__(self, start: Start, proxy: Proxy, server: Server) -> None:
        self._start = start
        self.proxy = proxy
        self.server = server
        self.others = 0
        # Sessions that nobody has closed.
        self.left: list[RawSession] = []

    async def restart(self) -> None:
        await self.server.stop()
        self.server, _ = await self._start(registry, connection_grace_s=600)
        self.proxy.port = self.server.port

    async def tell(self, rng: Random) -> None:
        """Others say something, each in a session of its own."""
        async with opened(self.server, client_id=b"o" * 16) as session:
            for stream in range(1, rng.randrange(2, 6)):
                self.others += 1
                session.send(call(stream, TALK, "say", f"other {self.others}"))
                value_of(await session.answer(stream))

    def sleep(self) -> None:
        self.server.node.catalog.evict(Address("default", "talk", ("a",)))


async def one_session(world: World, talker: Talker, rng: Random) -> None:
    """A session that ends in some way, at some moment."""
    session = RawSession(world.proxy.address)
    session.frames_max = rng.choice((None, None, rng.randrange(1, 8)))
    try:
        session.send(hello(resume_token=talker.token))
        talker.begin(session, rng.choice((1, 1, 100, WIDE)))
        for _ in range(rng.randrange(25)):
            await one_step(world, session, talker, rng)
        # Else the next session supersedes it.
        how = rng.randrange(4)
        if how == 0:
            session.finish()
        elif how == 1:
            await session.close()
        elif how == 2:
            world.proxy.cut()
        await asyncio.sleep(0)
        for answer in session.answers:
            talker.hear(answer)
    finally:
        if rng.random() < 0.5:
            await session.close()
        else:
            world.left.append(session)


async def one_step(world: World, session: RawSession, talker: Talker, rng: Random) -> None:
    what = rng.choices(
        ("say", "give", "tell", "sleep", "wait", "restart"), weights=(6, 8, 6, 3, 6, 1)
    )
    match what:
        case ["say"]:
            talker.say(session)
        case ["give"]:
            talker.give(session)
        case ["tell"]:
            await world.tell(rng)
        case ["sleep"]:
            world.sleep()
        case ["wait"] if session.frames_max is None and not session.ended:
            await pong_or_end(session)
        case ["restart"]:
            await world.restart()
        case _:
            await asyncio.sleep(0)


async def pong_or_end(session: RawSession) -> None:
    """Wait for a pong, or for the session's end; as clients do, not for long where it was
    never opened: gRPC may go on trying to connect to a server that has been started again."""
    try:
        async with asyncio.timeout(OPENING_S):
            with suppress(grpc.aio.AioRpcError, AssertionError):
                await session.pong()
    except TimeoutError:
        assert not session.frames, "a session that is open does not answer"


async def listen(session: RawSession, talker: Talker, done: Callable[[], bool]) -> None:
    """Take in what comes until that is all."""
    heard = 0
    while True:
        for answer in session.answers[heard:]:
            talker.hear(answer)
            heard += 1
        if done():
            return
        assert not session.ended, session.error
        await session.heard(len(session.frames) + 1)


@pytest.mark.parametrize(
    "cuts", [40, *(pytest.param(200, marks=pytest.mark.slow, id=f"200-{n}") for n in range(5))]
)
async def test_nothing_is_lost_or_doubled_however_often_it_is_cut(
    start: Start, stage: Stage, rng: Random, cuts: int
) -> None:
    server, _ = await start(registry, connection_grace_s=600)
    async with proxy_to(server.port) as proxy:
        world, talker = World(start, proxy, server), Talker(rng)
        try:
            for _ in range(cuts):
                await one_session(world, talker, rng)
        finally:
            for session in world.left:
                await session.close()
        async with opened(proxy.address, resume_token=talker.token) as session:
            talker.begin(session, WIDE)
            talker.say(session)
            total = talker.said + world.others
            await listen(
                session,
                talker,
                lambda: (
                    not talker.unanswered
                    and len(talker.events) == total
                    and talker.messages[-1:] == talker.events[-1:]
                ),
            )
            session.send(call(9999, TALK, "log"))
            lines = value_of(await session.answer(9999))
    told = [line for line in lines if line[0] not in "+-"]
    assert told == talker.events
    assert sorted(told) == sorted(set(told))
    # The connection was there from some moment on.
    assert talker.messages == talker.events[len(told) - len(talker.messages) :]
    # Only one that was given up before its client knew of it has been ended.
    assert stage.log.count("disconnect ada") < stage.log.count("connect ada")
