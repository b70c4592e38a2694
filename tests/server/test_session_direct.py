"""Calls with nothing to wait for, which a session runs where it reads them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest

from holdfast import Actor, Context, UserError, action, setup
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.session import RawSession, call, cancel, end_of, opened, value_of
from tests.server.wire import target

PAGE = target("page", "a")
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list)


class Page(Actor[Lines]):
    state = Lines

    @action
    async def add(self, c: Context[Lines], text: str) -> list[str]:
        c.state.lines.append(text)
        return c.state.lines

    @action
    async def add_slowly(self, c: Context[Lines], text: str) -> None:
        await asyncio.sleep(0)
        c.state.lines.append(text)

    @action
    def refuse(self, c: Context[Lines], text: str) -> None:
        c.state.lines.append(text)
        raise UserError(f"refused for the {len(c.state.lines)}th line", code="refused")

    @action
    def give_up(self, c: Context[Lines]) -> None:
        c.state.lines.append("given up")
        raise asyncio.CancelledError

    @action
    async def end(self, c: Context[Lines]) -> str:
        c.destroy()
        return "bye"

    @action
    def remember(self, c: Context[Lines], text: str) -> str:
        before = seen.get()
        seen.set(text)
        return before

    async def on_destroy(self, c: Context[Lines]) -> None:
        await asyncio.sleep(0)


registry = setup(use={"page": Page})


async def woken(session: RawSession) -> None:
    """The actor is awake, and has the replies of this client in memory."""
    session.send(call(1, PAGE, "add", "0", number=1))
    assert value_of(await session.answer(1)) == ["0"]


async def test_none_overtakes_a_call_before_it_that_waits(start: Start) -> None:
    server, _ = await start(registry)
    async with opened(server) as session:
        await woken(session)

        session.send(
            call(2, PAGE, "add_slowly", "a", number=2),
            call(3, PAGE, "add", "b", number=3),
            call(4, PAGE, "add_slowly", "c", number=4),
            call(5, PAGE, "add", "d", number=5),
        )

        assert value_of(await session.answer(5)) == ["0", "a", "b", "c", "d"]


async def test_one_that_is_cancelled_before_its_sync_is_stored_all_the_same(start: Start) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    async with opened(server) as session:
        await woken(session)
        store.hold()
        session.send(call(2, PAGE, "add", "a", number=2))
        await store.reached()

        session.send(cancel(2))

        assert end_of(await session.answer(2)).status == "CANCELLED"
        store.let_go()
        session.send(call(3, PAGE, "add", "a", number=2))
        again = await session.answer(3)
        assert again.result.replayed
        assert value_of(again) == ["0", "a"]
        await session.pong()
        assert not session.waiting(2)


async def test_the_same_key_joins_one_that_waits_for_its_sync(start: Start) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    async with opened(server) as session:
        await woken(session)
        store.hold()

        session.send(
            call(2, PAGE, "add", "a", number=2),
            call(3, PAGE, "add", "a", number=2),
            call(4, PAGE, "add", "b", number=2),
        )

        assert end_of(await session.answer(4)).reason == "IDEMPOTENCY_KEY_REUSED"
        assert not session.waiting(2)
        store.let_go()
        first, second = await session.answer(2), await session.answer(3)
        assert [first.result.replayed, second.result.replayed] == [False, True]
        assert value_of(first) == value_of(second) == ["0", "a"]


async def test_a_user_error_is_stored_and_undoes_its_turn(start: Start) -> None:
    server, _ = await start(registry)
    async with opened(server) as session:
        await woken(session)

        session.send(
            call(2, PAGE, "refuse", "a", number=2),
            call(3, PAGE, "refuse", "a", number=2),
            call(4, PAGE, "add", "b", number=4),
        )

        refusals = [end_of(await session.answer(stream)) for stream in (2, 3)]
        assert [each.message for each in refusals] == ["refused for the 2th line"] * 2
        assert value_of(await session.answer(4)) == ["0", "b"]


async def test_a_handler_that_gives_up_is_undone(start: Start) -> None:
    server, _ = await start(registry)
    async with opened(server) as session:
        await woken(session)

        session.send(call(2, PAGE, "give_up"), call(3, PAGE, "add", "a"))

        assert end_of(await session.answer(2)).reason == "INTERNAL_ERROR"
        assert value_of(await session.answer(3)) == ["0", "a"]


async def test_the_end_of_an_actor_has_its_time_before_the_next_call(start: Start) -> None:
    server, _ = await start(registry)
    async with opened(server) as session:
        await woken(session)

        session.send(
            call(2, PAGE, "end", number=2),
            call(3, PAGE, "add", "anew", number=3),
            call(4, PAGE, "end", number=2),
        )

        assert value_of(await session.answer(2)) == "bye"
        assert value_of(await session.answer(3)) == ["anew"]
        assert (await session.answer(4)).result.replayed


async def test_what_a_handler_sets_in_its_context_is_gone_with_it(start: Start) -> None:
    server, _ = await start(registry)
    async with opened(server) as session:
        await woken(session)

        session.send(call(2, PAGE, "remember", "a"), call(3, PAGE, "remember", "b"))

        assert [value_of(await session.answer(stream)) for stream in (2, 3)] == ["nothing"] * 2


@pytest.mark.parametrize("applied", [False, True])
async def test_nobody_knows_what_became_of_it_when_its_sync_fails(
    start: Start, applied: bool
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    async with opened(server) as session:
        await woken(session)
        store.unsynced_kept = None if applied else 0
        store.fail_next("sync")

        session.send(call(2, PAGE, "add", "a", number=2))

        assert end_of(await session.answer(2)).reason == "COMMIT_UNKNOWN"
        session.send(call(3, PAGE, "add", "a", number=2))
        again = await session.answer(3)
        assert again.result.replayed == applied
        assert value_of(again) == ["0", "a"]


async def test_a_drain_that_is_over_tells_that_nobody_knows(start: Start) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store, drain_timeout_s=0.01)
    async with opened(server) as session:
        await woken(session)
        store.hold()
        session.send(call(2, PAGE, "add", "a", number=2))
        await store.reached()

        stopping = asyncio.ensure_future(server.stop())

        assert end_of(await session.answer(2)).reason == "COMMIT_UNKNOWN"
        store.let_go()
        await stopping
