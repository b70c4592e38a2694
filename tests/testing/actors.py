"""Actors as users write them, that know nothing of tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from holdfast import Actor, Context, UserError, action, setup


@dataclass
class Total:
    n: int = 0


class Counter(Actor[Total]):
    """Counts."""

    state = Total

    @action
    async def add(self, c: Context, count: int = 1) -> int:
        c.state.n += count
        return c.state.n

    @action
    async def add_slowly(self, c: Context, seconds: float) -> int:
        c.state.n += 1
        await asyncio.sleep(seconds)
        return c.state.n

    @action
    async def refuse(self, c: Context) -> None:
        c.state.n += 1
        raise UserError("no", code="refused")

    @action
    async def tell(self, c: Context, word: str) -> None:
        c.state.n += 1
        c.broadcast("told", word)
        c.broadcast("number", c.state.n)

    @action(read_only=True)
    def value(self, c: Context) -> int:
        return c.state.n

    @action
    async def up_to(self, c: Context, count: int) -> AsyncIterator[int]:
        for number in range(count):
            c.state.n += 1
            yield number


@dataclass
class Diary:
    lines: list[tuple[str, datetime]] = field(default_factory=list)


class Sleeper(Actor[Diary]):
    """Waits, and remembers when."""

    state = Diary

    @action
    async def nap(self, c: Context, name: str, seconds: float) -> datetime:
        await asyncio.sleep(seconds)
        c.state.lines.append((name, c.now()))
        return c.now()

    @action
    async def impatient(self, c: Context, limit_s: float) -> str:
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.Event().wait()
        except TimeoutError:
            return f"gave up at {c.now():%H:%M:%S}"
        return "never"

    @action(timeout_s=7)
    async def hang(self, c: Context) -> None:
        await asyncio.Event().wait()

    @action(timeout_s=1e9)
    async def hang_for_ever(self, c: Context) -> None:
        await asyncio.Event().wait()

    @action(thread=True)
    def block(self, c: Context) -> datetime:
        # The machine's time, as a library that blocks would take it.
        time.sleep(0.01)
        c.wait(asyncio.sleep(40))
        time.sleep(0.01)
        return c.now()

    @action
    async def in_executor(self, c: Context) -> datetime:
        await asyncio.to_thread(time.sleep, 0.01)
        return c.now()

    @action
    async def download(self, c: Context, port: int, line: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{line}\n".encode())
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer.decode().strip()

    @action
    async def spin(self, c: Context) -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_later(0, again)

        again()

    @action(read_only=True)
    def lines(self, c: Context) -> list[tuple[str, datetime]]:
        return c.state.lines


class Waker(Actor):
    """Counts in memory how often it was loaded."""

    vars = dict
    sleep_timeout_s = 30

    @action
    async def touch(self, c: Context) -> int:
        c.vars["touched"] = c.vars.get("touched", 0) + 1
        touched: int = c.vars["touched"]
        return touched

    @action(read_only=True)
    def looks(self, c: Context) -> int:
        c.vars["looks"] = c.vars.get("looks", 0) + 1
        looks: int = c.vars["looks"]
        return looks


class Tidy(Actor):
    """Has something to do before it leaves memory."""

    sleep_timeout_s = 30
    slept: list[datetime] = []

    @action
    async def touch(self, c: Context) -> None:
        pass

    async def on_sleep(self, c: Context) -> None:
        Tidy.slept.append(c.now())


@dataclass
class Received:
    words: list[str] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)


class Mailbox(Actor[Received]):
    """Takes sends, after failing some."""

    state = Received
    failures = 0
    tries: list[datetime] = []

    @action
    async def take(self, c: Context, word: str) -> None:
        Mailbox.tries.append(c.now())
        if Mailbox.failures > 0:
            Mailbox.failures -= 1
            raise RuntimeError("not now")
        c.state.words.append(word)

    @action
    async def post(self, c: Context, to: str, word: str) -> None:
        c.send("mailbox", [to], "take", word)

    @action(read_only=True)
    def words(self, c: Context) -> list[str]:
        return c.state.words


class Dice(Actor[Diary]):
    """Everything that would differ from run to run."""

    state = Diary

    @action
    async def roll(self, c: Context) -> str:
        await asyncio.sleep(c.random.random())
        line = f"{c.actor_id} {c.random.random()}"
        c.state.lines.append((line, c.now()))
        c.send("dice", [c.key[0] + "x"], "heard", line)
        return f"{line} {c.now()}"

    @action
    async def heard(self, c: Context, line: str) -> None:
        c.state.lines.append((f"heard {line}", c.now()))

    @action(read_only=True)
    def lines(self, c: Context) -> list[tuple[str, datetime]]:
        return c.state.lines


registry = setup(
    use={
        "counter": Counter,
        "dice": Dice,
        "mailbox": Mailbox,
        "sleeper": Sleeper,
        "tidy": Tidy,
        "waker": Waker,
    }
)
