"""Streaming calls in a session: items as credit allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.probe import activation_of, until
from tests.server.session import call, cancel, credit, end_of, items_of, opened, value_of
from tests.server.stage import Stage, stage
from tests.server.wire import target

SOURCE = target("source", "a")


class Source(Actor[dict]):  # type: ignore[type-arg]
    """Streams what it is asked for."""

    state = dict

    @action
    async def give(self, c: Context, count: int, size: int = 1) -> AsyncIterator[str]:
        try:
            for made in range(count):
                c.state["made"] = made + 1
                yield f"{made}".ljust(size, ".")
        finally:
            stage.mark("closed")

    @action
    async def wait(self, c: Context) -> AsyncIterator[int]:
        yield 1
        await stage.pause("wait")
        yield 2

    @action
    async def refuse(self, c: Context) -> AsyncIterator[int]:
        yield 1
        raise UserError("no more", code="enough")

    @action(read_only=True)
    def made(self, c: Context) -> int:
        return int(c.state.get("made", 0))

    @action
    async def touch(self, c: Context) -> None:
        c.state["touched"] = True


registry = setup(use={"source": Source})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore())


async def test_items_come_in_order_and_then_the_end(running: tuple[Server, Client]) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "give", 5, streaming=True))
        answers = await session.answers_to_end(1)

        assert items_of(answers) == ["0", "1", "2", "3", "4"]
        assert answers[-1].end.code == 0
        assert not answers[-1].end.details


async def test_a_failure_comes_after_the_items(running: tuple[Server, Client]) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "refuse", streaming=True))
        answers = await session.answers_to_end(1)

        assert items_of(answers) == [1]
        refusal = end_of(answers[-1])
        assert (refusal.reason, refusal.metadata["code"]) == ("USER_ERROR", "enough")


async def test_the_wrong_way_to_call_is_refused(running: tuple[Server, Client]) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "made", streaming=True), call(2, SOURCE, "give", 1))

        assert end_of(await session.answer(1)).reason == "ACTION_WRONG_KIND"
        assert end_of(await session.answer(2)).reason == "ACTION_WRONG_KIND"


async def test_nothing_is_made_without_credit_and_the_mailbox_is_free(
    running: tuple[Server, Client],
) -> None:
    server, client = running
    source = client.get_or_create(Source, ["a"])
    async with opened(server) as session:
        # An item of 100 characters is 102 bytes of JSON.
        session.send(call(1, SOURCE, "give", 5, 100, streaming=True, window_bytes=150))
        assert len(items_of([await session.answer(1), await session.answer(1)])) == 2
        # Turns of others run, and the handler is asked for no third item meanwhile.
        for _ in range(20):
            await source.touch()
        await session.pong()
        assert session.waiting(1) == 0
        assert await source.made() == 2

        session.send(credit(1, 60))
        assert len(items_of([await session.answer(1)])) == 1
        await session.pong()
        assert await source.made() == 3
        session.send(credit(1, 1 << 20))
        assert len(items_of(await session.answers_to_end(1))) == 2


async def test_a_stream_without_credit_holds_up_no_other(running: tuple[Server, Client]) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(
            call(1, SOURCE, "give", 3, 50, streaming=True, window_bytes=1),
            call(2, target("source", "b"), "give", 100, streaming=True),
        )
        assert len(items_of(await session.answers_to_end(2))) == 100
        assert len(items_of([await session.answer(1)])) == 1
        assert session.waiting(1) == 0


async def test_a_stream_can_be_cancelled_with_and_without_credit(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "give", 3, 50, streaming=True, window_bytes=1))
        await session.answer(1)
        session.send(cancel(1))
        assert end_of(await session.answer(1)).reason == "CANCELLED"
        await stage.reached("closed")

        session.send(call(2, SOURCE, "wait", streaming=True))
        await session.answer(2)
        await stage.reached("wait")
        session.send(cancel(2))
        assert end_of(await session.answer(2)).reason == "CANCELLED"
        # Credit that crosses the end is ignored.
        session.send(credit(2, 5), call(3, SOURCE, "made"))
        assert value_of(await session.answer(3)) == 1


async def test_a_deadline_ends_a_stream_that_waits_for_credit(
    running: tuple[Server, Client],
) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "give", 3, 50, streaming=True, window_bytes=1, timeout_ms=100))
        await session.answer(1)
        assert end_of(await session.answer(1)).reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("how", ["cut", "close"])
async def test_a_broken_session_ends_its_streams(
    running: tuple[Server, Client], stage: Stage, how: str
) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "give", 3, 50, streaming=True, window_bytes=1))
        await session.answer(1)
        await getattr(session, how)()
        await stage.reached("closed")

    await until(lambda: (found := activation_of(server, "source", "a")) and not found.users)
    activation: Any = activation_of(server, "source", "a")
    assert activation.mailbox.idle


async def test_a_client_that_sends_no_more_still_gets_its_answers(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(call(1, SOURCE, "wait", streaming=True), call(2, SOURCE, "made"))
        session.finish()
        await session.answer(2)
        await stage.reached("wait")
        stage.let("wait")
        assert items_of(await session.answers_to_end(1)) == [1, 2]
        await asyncio.wait_for(session.done(), 20)


async def test_a_client_that_sends_no_more_needs_to_give_no_credit(
    running: tuple[Server, Client],
) -> None:
    server, _ = running
    async with opened(server) as session:
        session.send(
            call(1, SOURCE, "give", 20, 50, streaming=True, window_bytes=1),
            call(2, target("source", "b"), "give", 20, 50, streaming=True, window_bytes=1),
        )
        await session.answer(1)
        session.finish()
        assert len(items_of(await session.answers_to_end(1))) == 19
        assert len(items_of(await session.answers_to_end(2))) == 20
        await session.done()


async def test_a_client_that_sends_no_more_is_not_taken_for_silent(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(registry, store=MemoryStore(), session_idle_s=0.05)
    async with opened(server) as session, opened(server) as other:
        session.send(call(1, SOURCE, "wait", streaming=True))
        session.finish()
        await stage.reached("wait")
        # One that could still send, and does not, counts as broken meanwhile.
        assert (await other.failure()).metadata["limit"] == "session_idle_s"
        async with opened(server) as third:
            assert (await third.failure()).metadata["limit"] == "session_idle_s"
        stage.let("wait")
        assert items_of(await session.answers_to_end(1)) == [1, 2]
        await session.done()
