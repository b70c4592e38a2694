"""A handler that holds the event loop is named, with its stack, and not too often.

The handlers hold the loop until the report of it has been logged.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from holdfast import Actor, Context, action, setup
from holdfast_server.process.watchdog import Watchdog
from tests.server.conftest import Start

HELD_MAX_S = 30.0
reported = threading.Event()


class Blocking(Actor):
    """Holds the loop in each way a handler can."""

    @action
    def plain(self, c: Context) -> bool:
        return reported.wait(HELD_MAX_S)

    @action
    async def after_an_await(self, c: Context) -> bool:
        await asyncio.sleep(0)
        return reported.wait(HELD_MAX_S)

    @action
    async def stream(self, c: Context) -> AsyncIterator[bool]:
        yield True
        yield reported.wait(HELD_MAX_S)

    @action
    async def through(self, c: Context, action: str) -> bool:
        other = c.client.get_or_create(Blocking, ["inner"])
        done: bool = await other.action(action)
        return done


class BlockingStart(Actor):
    """Holds the loop when it wakes."""

    async def on_wake(self, c: Context) -> None:
        reported.wait(HELD_MAX_S)

    @action
    async def hello(self, c: Context) -> str:
        return "hello"


registry = setup(use={"blocking": Blocking, "blocking-start": BlockingStart})


class Reports(logging.Handler):
    """What the watchdog logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.held: list[str] = []
        self.free = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "free again" in message:
            self.free.set()
        else:
            self.held.append(message)
            reported.set()


@pytest.fixture
def reports() -> Iterator[Reports]:
    handler = Reports()
    logger = logging.getLogger("holdfast.watchdog")
    logger.addHandler(handler)
    reported.clear()
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", ["plain", "after_an_await", "stream"])
async def test_the_actor_the_action_and_the_stack_are_logged(
    start: Start, reports: Reports, name: str
) -> None:
    _, client = await start(registry, loop_block_warn_s=0.05)
    actor = client.get_or_create("blocking", ["org", "a"])

    if name == "stream":
        assert [item async for item in actor.action_stream(name)] == [True, True]
    else:
        assert await actor.action(name) is True

    (report,) = reports.held
    first, *stack = report.splitlines()
    assert f"by action {name!r} of actor default/blocking/['org', 'a']" in first
    assert any(f"in {name}" in line for line in stack)
    assert any("reported.wait(HELD_MAX_S)" in line for line in stack)
    await asyncio.to_thread(reports.free.wait, HELD_MAX_S)


async def test_it_is_the_actor_that_holds_the_loop_and_not_its_caller(
    start: Start, reports: Reports
) -> None:
    _, client = await start(registry, loop_block_warn_s=0.05)

    assert await client.get_or_create("blocking", "outer").action("through", "plain") is True

    assert "by action 'plain' of actor default/blocking/['inner']" in reports.held[0]


async def test_a_hook_is_named_with_the_call_that_woke_its_actor(
    start: Start, reports: Reports
) -> None:
    _, client = await start(registry, loop_block_warn_s=0.05)

    assert await client.get_or_create("blocking-start", "a").action("hello") == "hello"

    assert "by action 'hello' of actor default/blocking-start/['a']" in reports.held[0]
    assert "in on_wake" in reports.held[0]


async def test_code_outside_a_turn_is_logged_too_and_reports_are_rare(reports: Reports) -> None:
    watchdog = Watchdog(0.02)
    watchdog.start()
    for _ in range(2):
        reported.wait(HELD_MAX_S)
        # The second time there is no report to wait for: the loop is held long enough to see.
        threading.Event().wait(0.2)
        await asyncio.to_thread(reports.free.wait, HELD_MAX_S)
    watchdog.stop()

    assert len(reports.held) == 1
    assert "by code outside a turn" in reports.held[0]


async def test_it_can_be_off(reports: Reports) -> None:
    before = threading.active_count()
    watchdog = Watchdog(0.0)
    watchdog.start()

    assert threading.active_count() == before
    watchdog.stop()
