"""What waits for one client: the order of turns and ends, room, and when it is too much."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast_server.runtime.outlets import Outlet, Outputs


class Reader:
    """An outlet of ten bytes whose reader the test is."""

    def __init__(self) -> None:
        self.overflows = 0
        loop = asyncio.get_running_loop()
        self.outlet: Outlet[Any] = Outlet(loop, 10, wake=lambda: None, overflow=self._overflow)

    def _overflow(self) -> None:
        self.overflows += 1
        self.outlet.end(drop=True)

    def taken(self) -> list[Any]:
        items = []
        while not self.outlet.empty:
            items.append(self.outlet.take())
            self.outlet.left()
        return items


async def test_the_last_comes_behind_turns_that_have_ended_and_are_not_durable() -> None:
    reader, outputs = Reader(), Outputs()
    outputs.add(reader.outlet, "a", 1)
    outputs.add(reader.outlet, "", 0)
    release = outputs.submit()
    reader.outlet.last("close")
    assert (reader.outlet.empty, reader.outlet.over) == (True, False)
    release()
    assert reader.taken() == ["a", "", "close"]
    reader.outlet.put([("late", 4)])
    assert reader.taken() == []


async def test_the_last_waits_for_no_turn_that_is_lost() -> None:
    reader, outputs = Reader(), Outputs()
    outputs.add(reader.outlet, "a", 1)
    outputs.submit()
    reader.outlet.last("close")
    reader.outlet.lose()
    assert reader.taken() == ["close"]


async def test_there_is_room_when_what_waits_and_what_is_under_way_fit() -> None:
    reader, outputs = Reader(), Outputs()
    reader.outlet.put([("a" * 6, 6)])
    outputs.add(reader.outlet, "b" * 6, 6)
    release = outputs.submit()
    room = asyncio.create_task(reader.outlet.room())
    drained = asyncio.create_task(reader.outlet.drained())
    await asyncio.sleep(0)
    release()
    await asyncio.sleep(0)
    assert not room.done()
    reader.outlet.take()
    await asyncio.sleep(0)
    # It has left memory here only when the client has it.
    assert not room.done()
    reader.outlet.left()
    await room
    assert not drained.done()
    reader.taken()
    await drained


async def test_a_reader_that_takes_what_came_in_one_tick_is_not_too_slow() -> None:
    quick, slow = Reader(), Reader()
    for reader in (quick, slow):
        for _ in range(4):
            reader.outlet.put([("x" * 9, 9)])
    assert len(quick.taken()) == 4
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (quick.overflows, slow.overflows) == (0, 1)
    # One turn alone may have more than the limit.
    alone = Reader()
    alone.outlet.put([("x" * 99, 99)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert alone.overflows == 0
