"""What cannot work says so, and says what to do instead."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast import Actor, Context, action, setup
from holdfast.testing import BlockingHarness, HarnessError, blocking_harness, harness
from tests.testing.actors import Counter, registry


@pytest.mark.parametrize(
    ("delta", "units", "error", "text"),
    [
        (-1, {}, ValueError, "only moves forward, not by -1 s"),
        (timedelta(days=-1), {}, ValueError, "only moves forward"),
        (None, {"days": 1, "hours": -25}, ValueError, "only moves forward"),
        (math.nan, {}, ValueError, "finite number, not nan"),
        (None, {"days": math.inf}, ValueError, "days is a finite number, not inf"),
        (None, {}, TypeError, "say how far"),
        (1, {"seconds": 1}, TypeError, "not both"),
        ("1", {}, TypeError, "the duration is a number, not str"),
        (True, {}, TypeError, "is a number, not bool"),
        (None, {"seconds": timedelta(1)}, TypeError, "seconds is a number, not a timedelta"),
        (None, {"fortnights": 1}, TypeError, "no unit 'fortnights': weeks, days"),
        (None, {"days": 1e9}, ValueError, "a thousand years at most"),
    ],
)
async def test_how_far_is_checked(
    delta: Any, units: dict[str, Any], error: type[Exception], text: str
) -> None:
    async with harness(registry) as h:
        before = h.now()
        with pytest.raises(error, match=text):
            await h.advance(delta, **units)
        assert h.now() == before


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"store": "postgres"}, ValueError, "no store 'postgres': 'memory' or 'rocksdb'"),
        ({"start": datetime(2026, 1, 1)}, ValueError, "start needs a time zone"),
        ({"start": "2026-01-01"}, TypeError, "start is a datetime, not str"),
        ({"seed": "7"}, TypeError, "seed is an integer"),
        ({"grpc": "127.0.0.1:1"}, TypeError, "grpc is True or False"),
        ({"mailbox_mx": 3}, ValueError, "no setting 'mailbox_mx'.*mailbox_max"),
        ({"mailbox_max": -3}, ValueError, r"harness\(mailbox_max=...\): -3 must be at least 1"),
        ({"token": "x"}, ValueError, "no use for the setting 'token'"),
        ({"data": "somewhere"}, ValueError, "data is for store='rocksdb'"),
    ],
)
def test_arguments_are_checked_where_they_are_given(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        harness(registry, **options)


def test_only_a_registry_is_run() -> None:
    with pytest.raises(TypeError, match=r"what setup\(use=\{...\}\) gives, not of type"):
        harness(Counter)  # type: ignore[arg-type]


async def test_a_harness_that_has_ended_says_so() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
    for use in (counter.add, h.settle, h.crash, h.restart, lambda: h.evict(counter)):
        with pytest.raises(HarnessError, match="the harness has ended"):
            await use()
    with pytest.raises(HarnessError, match="entered once"):
        async with h:
            pass


async def test_a_harness_belongs_to_its_loop() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        for use in (counter.add, h.settle):
            with pytest.raises(HarnessError, match="belongs to the event loop, and the thread"):
                await asyncio.to_thread(asyncio.run, use())
        assert await counter.add() == 1


async def test_two_advances_at_once_are_refused() -> None:
    async with harness(registry) as h:
        first = asyncio.create_task(h.advance(days=1))
        await asyncio.sleep(0)
        with pytest.raises(HarnessError, match="being advanced already"):
            await h.advance(days=1)
        await first


class Meddler(Actor):
    """Uses the harness from inside."""

    harness: Any = None

    @action
    async def meddle(self, c: Context) -> str:
        try:
            await Meddler.harness.advance(days=1)
        except HarnessError as error:
            return str(error)
        return "done"


async def test_actors_cannot_move_the_clock() -> None:
    async with harness(setup(use={"meddler": Meddler})) as h:
        Meddler.harness = h
        refusal = await h.client.get_or_create(Meddler, []).meddle()
        assert "the harness is the test's" in refusal


async def test_only_grpc_has_an_address() -> None:
    async with harness(registry) as h:
        with pytest.raises(HarnessError, match="grpc=True"):
            _ = h.address


async def test_a_blocking_harness_refuses_coroutines() -> None:
    with (
        pytest.raises(HarnessError, match="use `async with harness"),
        blocking_harness(registry),
    ):
        pass


def test_a_blocking_harness_belongs_to_its_thread() -> None:
    refusals: list[str] = []

    def use(h: BlockingHarness) -> None:
        try:
            h.settle()
        except HarnessError as error:
            refusals.append(str(error))

    with blocking_harness(registry) as h:
        asyncio.run(asyncio.to_thread(use, h))
    use(h)
    assert refusals == [
        "a harness belongs to the thread on which it was made",
        "the harness has ended: use it inside its `with` block",
    ]


async def test_a_server_that_cannot_start_leaves_the_loop_as_it_was(tmp_path: Any) -> None:
    loop = asyncio.get_running_loop()
    before = set(vars(loop))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Exception, match="file"):
        async with harness(registry, store="rocksdb", data=str(tmp_path / "file")):
            pass
    assert set(vars(loop)) == before
