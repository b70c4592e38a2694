"""Sessions of a server that is killed and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import Start
from tests.server.restartable import server_process
from tests.server.session import RawSession, call, connect, opened, resume, subscribe, value_of
from tests.server.talk import registry
from tests.server.wire import target

TALK = target("talk", "a")
REGISTRY = "tests.server.talk:registry"


async def log(session: RawSession, stream: int) -> list[str]:
    session.send(call(stream, TALK, "log"))
    lines = value_of(await session.answer(stream))
    # Each call is a client of its own.
    return [line for line in lines if not line.endswith("nobody")]


async def test_what_was_under_way_when_a_server_was_killed_goes_on_at_the_next(
    start: Start, tmp_path: Path
) -> None:
    texts = [str(number) for number in range(1, 41)]
    async with (
        server_process(REGISTRY, tmp_path / "killed") as process,
        opened(process.address) as session,
    ):
        session.send(connect(1, TALK, {"name": "ada"}), subscribe(2, None, connection=1))
        connected = await session.connected(1)
        token = session.welcome.resume_token
        for number, text in enumerate(texts, 1):
            session.send(call(2 + number, TALK, "say", text, number=number))
        # Some have been answered, some have run, some are on their way.
        await session.answer(12)
        await process.kill()
        assert (await session.failure()).status == "UNAVAILABLE"
        answers = list(session.answers)
    server, _ = await start(registry, data="killed")
    messages = [each.message.number for each in answers if each.HasField("message")]
    events = [each.event.event.sequence for each in answers if each.HasField("event")]
    results = {each.stream - 2 for each in answers if each.HasField("result")}
    assert messages == list(range(1, len(messages) + 1))
    assert events == list(range(1, len(events) + 1))

    async with opened(server, resume_token=token) as again:
        # This server has nothing of that session in memory, but the connection is stored.
        assert not again.welcome.resumed
        assert again.welcome.resume_token == token
        again.send(
            resume(1, connected, received=len(messages)),
            subscribe(2, None, connection=1, from_sequence=len(events) + 1),
        )
        assert (await again.connected(1)) == connected
        await again.answer(2)
        missing = [number for number in range(1, len(texts) + 1) if number not in results]
        for number in missing:
            again.send(call(2 + number, TALK, "say", texts[number - 1], number=number))
        for number in missing:
            assert (await again.answer(2 + number)).HasField("result")
        for number in range(len(messages) + 1, len(texts) + 1):
            message = (await again.answer(1)).message
            assert (message.number, message.previous_number) == (number, number - 1)
        for number in range(len(events) + 1, len(texts) + 1):
            event = (await again.answer(2)).event.event
            assert (event.sequence, event.previous_sequence) == (number, number - 1)
        assert await log(again, 91) == ["+ada", *texts]


@pytest.mark.slow
async def test_whoever_does_not_come_back_after_a_kill_has_left_once(tmp_path: Path) -> None:
    async with server_process(REGISTRY, tmp_path, "--connection-grace-s", "2") as server:
        async with opened(server.address) as session:
            session.send(connect(1, TALK, {"name": "ada"}), connect(2, TALK, {"name": "bob"}))
            ada, bob = await session.connected(1), await session.connected(2)
            token = session.welcome.resume_token
            await server.kill()
            await session.failure()
        for _ in range(2):
            # A second kill in between begins the time of grace anew, and ends nobody.
            await server.start()
            async with opened(server.address, resume_token=token) as again:
                again.send(resume(1, ada))
                await again.connected(1)
                assert await log(again, 2) == ["+ada", "+bob"]
                await server.kill()
        await server.start()
        async with opened(server.address, resume_token=token) as again:
            again.send(resume(1, ada))
            await again.connected(1)
            stream, lines = 2, [""]
            while "-bob" not in lines:
                lines, stream = await log(again, stream), stream + 1
            again.send(resume(stream, bob))
            assert await again.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
            assert await log(again, stream + 1) == ["+ada", "+bob", "-bob"]
            assert again.waiting(1) == 0
