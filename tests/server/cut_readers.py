"""Readers behind a proxy that cuts, each checked against the log as it is written.

The n-th event of a `Board` is numbered n, so that the log is a list of names. A reader has
a place in it: each event that it is given is the next one of its names, and where it is
told of a gap, it goes on behind that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from holdfast import Client, DeliveredEvent, EventsTrimmed

NAMES = "abcd"
READERS = 5


class Log:
    """The events of one board, in their order."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.names: list[str] = []

    def between(self, names: frozenset[str], place: int, until: int) -> list[int]:
        """The numbers above `place` and below `until` of events with these names."""
        return [
            number
            for number in range(place + 1, until)
            if not names or self.names[number - 1] in names
        ]

    def last_of(self, names: frozenset[str]) -> int:
        """The number of the last event with these names; 0 before the first."""
        return next(
            (n for n in range(len(self.names), 0, -1) if not names or self.names[n - 1] in names), 0
        )


class Reader:
    """What one subscription was given. `place` is None until it is known."""

    def __init__(self, what: str, log: Log, names: frozenset[str], place: int | None) -> None:
        self.what = f"{what} of {log.key}, {''.join(sorted(names)) or 'all'}"
        self.log = log
        self.names = names
        self.place = place
        self.heard = 0
        self.gaps: list[EventsTrimmed] = []
        self.wrong: list[str] = []

    def event(self, number: int, name: str) -> None:
        """An event has come."""
        self.heard += 1
        at = self.place
        if at is not None:
            if number <= at:
                self.wrong.append(f"{number} came after {at}")
            missing = self.log.between(self.names, at, number)
            if missing:
                self.wrong.append(f"{missing} did not come before {number}")
        if self.names and name not in self.names:
            self.wrong.append(f"{name} was not asked for")
        self.place = number

    def error(self, error: Exception) -> None:
        """It was told that something is wrong, which may only be a gap."""
        if isinstance(error, EventsTrimmed) and error.kind == "events":
            self.trimmed(error)
        else:
            self.wrong.append(repr(error))

    def trimmed(self, gap: EventsTrimmed) -> None:
        """It was told that events are missing."""
        self.gaps.append(gap)
        if self.place is not None and gap.last_sequence < self.place:
            self.wrong.append(f"{gap} after {self.place}")
        self.place = max(self.place or 0, gap.oldest_sequence - 1)

    async def read(self, events: AsyncIterator[DeliveredEvent]) -> None:
        """Read for ever."""
        while True:
            try:
                async for event in events:
                    self.event(event.sequence, event.name)
                    if event.args != (event.sequence,):
                        self.wrong.append(f"{event} has the arguments of another")
                self.wrong.append("it ended")
                return
            except EventsTrimmed as gap:
                self.trimmed(gap)

    @property
    def done(self) -> bool:
        """Whether it has everything, or something is wrong."""
        return bool(self.wrong) or (self.place or 0) >= self.log.last_of(self.names)


class Site:
    """One client: a connection with its readers, readers without one, and calls on the
    connection one after the other."""

    def __init__(self, name: str, address: str, log: Log, random: Random) -> None:
        self.name = name
        self.log = log
        self.readers: list[Reader] = []
        self.told: list[int] = []
        self.opened: list[str] = []
        self.written: list[str] = []
        self._over = False
        self._calling: asyncio.Task[None] | None = None
        self._address = address
        self._random = random

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """A block in which it reads and calls."""
        tasks: list[asyncio.Task[None]] = []
        async with (
            Client(self._address, timeout=None) as client,
            Client(self._address, timeout=None, session=False) as plain,
        ):
            board: Any = client.get_or_create("board", [self.log.key])
            beside: Any = plain.get_or_create("board", [self.log.key])
            connection = board.connect({"name": self.name})
            name = self._random.choice(NAMES)
            listener = self._reader("on", frozenset(name), None)
            connection.on(name, lambda number: listener.event(number, name))
            connection.on_error(listener.error)
            connection.on_open(lambda: self.opened.append(connection.connection_id))
            # For messages one of its own: a listener also subscribes to events of its name.
            ear = board.connect({"name": f"{self.name} hears"})
            ear.on("told", self.told.append)
            ear.on_error(lambda error: None)
            ear.on_open(lambda: self.opened.append(ear.connection_id))
            async with connection as conn, ear:
                await connection.ready()
                await ear.ready()
                for what, source in (
                    ("conn.events", conn.events),
                    ("conn.events", conn.events),
                    ("handle.events", board.events),
                    ("EventService", beside.events),
                ):
                    tasks.append(asyncio.create_task(self._events(what, source)))
                tasks.append(asyncio.create_task(self._call(conn)))
                self._calling = tasks[-1]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(self) -> None:
        """Make no more calls, and wait for the last."""
        self._over = True
        assert self._calling is not None
        await self._calling

    @property
    def reads(self) -> bool:
        """Whether each of its readers has heard something."""
        return len(self.readers) == READERS and all(each.heard for each in self.readers)

    @property
    def done(self) -> bool:
        """Whether each of its readers has everything, or something is wrong."""
        return all(reader.done for reader in self.readers)

    @property
    def wrong(self) -> list[str]:
        """What is wrong with what its readers got."""
        return [f"{reader.what}: {what}" for reader in self.readers for what in reader.wrong]

    def _reader(self, what: str, names: frozenset[str], place: int | None) -> Reader:
        reader = Reader(f"{self.name}: {what}", self.log, names, place)
        self.readers.append(reader)
        return reader

    async def _events(self, what: str, source: Callable[..., Any]) -> None:
        names = frozenset(self._random.sample(NAMES, self._random.randrange(4)))
        start = self._random.choice([None, 1])
        reader = self._reader(what, names, None if start is None else start - 1)
        await reader.read(source(*names, from_sequence=start))

    async def _call(self, conn: Any) -> None:
        while not self._over:
            entry = f"{self.name} {len(self.written) + 1}"
            await conn.write(entry)
            self.written.append(entry)
