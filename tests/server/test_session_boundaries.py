"""One dialogue, cut at every boundary of its frames: it comes to the same each time.

The client here does what a client should: it goes on under its token, resumes its
connection if it knows it, reads on from where it stood, and sends the calls again that
were not answered, under their numbers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import grpc
import pytest

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.store.keys import Kind
from tests.server.conftest import Start
from tests.server.proxy import proxy_to
from tests.server.session import (
    RawSession,
    acknowledge,
    call,
    cancel,
    connect,
    hello,
    opened,
    raw_session,
    resume,
    subscribe,
    value_of,
)
from tests.server.stage import Stage
from tests.server.talk import registry
from tests.server.test_connection_messages import until_stored
from tests.server.wire import target

TEXTS = {1: "a", 2: "b", 3: "c"}
# What each command is answered with, on its stream.
ANSWERED = {
    "connect": {"connected", "end"},
    "subscribe": {"subscribed", "end"},
    "call": {"result", "end"},
    "cancel": {"end"},
}
# Of the client, in a dialogue that is not cut.
FRAMES = 7
Told = list[tuple[int, int, str]]


class Talker:
    """What a client knows of its dialogue with one actor, across sessions."""

    def __init__(self, name: str) -> None:
        self.on = target("talk", name)
        self.name = name
        self.token = b""
        self.connection: pb.SessionConnected | None = None
        # Whether it has said that it leaves.
        self.leaving = False
        self.messages: Told = []
        self.events: Told = []
        self.results: dict[int, int] = {}

    def commands(self) -> Iterator[pb.SessionCommand]:
        """What is still to be said; each makes a frame."""
        if self.connection is not None:
            received = self.messages[-1][0] if self.messages else 0
            yield resume(1, self.connection, received)
        else:
            yield connect(1, self.on, {"name": self.name})
        yield subscribe(2, self.on, from_sequence=len(self.events) + 1)
        unanswered = [number for number in TEXTS if number not in self.results]
        for number in unanswered:
            counted = {"number": number, "acknowledged_below": min(unanswered)}
            yield call(2 + number, self.on, "say", TEXTS[number], **counted)
        if self.messages:
            yield acknowledge(1, self.messages[-1][0])
        yield cancel(2)
        self.leaving = True
        yield cancel(1)

    def hear(self, answer: pb.SessionAnswer) -> None:
        """Take in one answer."""
        which = answer.WhichOneof("answer")
        if which == "welcome":
            self.token = answer.welcome.resume_token
        elif which == "connected":
            assert self.connection in (None, answer.connected)
            self.connection = answer.connected
        elif which == "message":
            told = answer.message
            (text,) = json.loads(told.args.data)
            self.messages.append((told.number, told.previous_number, text))
        elif which == "event":
            event = answer.event.event
            (text,) = json.loads(event.args.data)
            self.events.append((event.sequence, event.previous_sequence, text))
        elif which == "result":
            self.results[answer.stream - 2] = value_of(answer)
        elif which == "end" and answer.stream == 1:
            assert self.leaving, answer


async def talk(session: RawSession, talker: Talker, said: int | None, *, patient: bool) -> None:
    """Say all, or the first frames; one that is patient waits for each answer but the last."""
    for count, command in enumerate(islice(talker.commands(), said), 1):
        session.send(command)
        await session.flush()
        kinds = ANSWERED[str(command.WhichOneof("command"))]
        while patient and count != said:
            if (await session.answer(command.stream)).WhichOneof("answer") in kinds:
                break


async def cut_short(
    server: Server, talker: Talker, *, patient: bool, said: int | None = None, heard: int = 0
) -> bool:
    """A session that is cut after so many frames of the client, or of the server; whether
    that was before it had come to its end."""
    async with proxy_to(server.port) as proxy, raw_session(proxy.address) as session:
        session.frames_max = heard or None
        session.send(hello())
        await session.flush()
        talking = asyncio.ensure_future(talk(session, talker, said, patient=patient))
        hearing = asyncio.ensure_future(session.heard(heard))
        waits = {talking, hearing} if heard else {talking}
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        proxy.cut()
        for task in (talking, hearing):
            task.cancel()
        await asyncio.gather(talking, hearing, return_exceptions=True)
        session.go_on()
        with suppress(grpc.aio.AioRpcError):
            await session.done()
        for frame in session.frames[: heard or None]:
            for answer in frame.answers:
                talker.hear(answer)
        return hearing in done


async def come_to_the_end(server: Server, talker: Talker) -> None:
    """Go on in a session that is not cut."""
    left, missing = talker.leaving, len(TEXTS) - len(talker.events)
    fields = {"resume_token": talker.token} if talker.token else {}
    async with opened(server, **fields) as session:
        *saying, stop, leave = talker.commands()
        session.send_frames(*saying)
        there = (await session.answer(1)).HasField("connected")
        # Only who has said that it leaves finds that it has left.
        assert there or left
        for command in saying:
            if command.HasField("call"):
                await session.answer(command.stream)
        assert (await session.hear(2))[0][0] == "subscribed"
        for _ in range(missing):
            assert (await session.answer(2)).HasField("event")
        session.send_frames(stop, leave)
        assert [each[0] for each in await session.hear(2)] == ["end"]
        if there:
            await session.answers_to_end(1)
        for answer in session.answers:
            talker.hear(answer)


def check(talker: Talker, lines: list[str], *, replaced: bool, left: bool) -> None:
    told = [(number, number - 1, text) for number, text in TEXTS.items()]
    assert talker.events == told
    assert set(talker.results) == set(TEXTS)
    assert [line for line in lines if line in TEXTS.values()] == list(TEXTS.values())
    if not replaced:
        # Who leaves wants no more of them.
        assert talker.messages == (told[: len(talker.messages)] if left else told)
        return
    # The connection that nobody knew of has had some of them.
    texts = [text for _, _, text in talker.messages]
    assert texts == list(TEXTS.values())[len(TEXTS) - len(texts) :]
    numbers = range(1, len(texts) + 1)
    assert [message[:2] for message in talker.messages] == [(n, n - 1) for n in numbers]


@pytest.mark.parametrize("how", ["one by one", "all at once", "as it hears"])
async def test_a_dialogue_that_is_cut_anywhere_comes_to_the_same(
    start: Start, stage: Stage, how: str
) -> None:
    server, client = await start(registry, connection_grace_s=600)
    cuts, early = 0, True
    while early and cuts < 40:
        talker = Talker(f"{cuts}")
        if how == "as it hears":
            early = await cut_short(server, talker, patient=True, heard=cuts + 1)
        else:
            await cut_short(server, talker, patient=how == "one by one", said=cuts)
            early = cuts < FRAMES
        replaced, left = talker.connection is None, talker.leaving
        await come_to_the_end(server, talker)
        lines = await client.get_or_create("talk", [talker.name]).action("log")
        check(talker, lines, replaced=replaced, left=left)
        # Nobody comes in twice but who did not know that it was in.
        assert lines.count(f"+{talker.name}") <= 1 + replaced
        cuts += 1
    assert FRAMES <= cuts < 40

    # Those that nobody knew of end when their time is over, and every one once.
    await server.stop()
    server, _ = await start(registry, connection_grace_s=0.01)
    await until_stored(server, Kind.CONNECTION, 0)
    for number in range(cuts):
        came = stage.log.count(f"connect {number}")
        assert came >= 1
        assert stage.log.count(f"disconnect {number}") == came
