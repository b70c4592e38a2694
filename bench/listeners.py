"""Subscribers of one actor in processes of their own, and how they are followed.

A listener checks that the numbers it is told rise by one. Its process is given marks by
a line of input each, and writes a line when all of its listeners have come that far.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.actors import Station
from bench.frames import run
from bench.servers import ROOT
from holdfast import Client

KEY = "bench"
PROCESSES_MAX = 2
_WAIT_S = 60.0
_PROBE_S = 0.2


class Board:
    """The marks of one process, and how many of its listeners are short of the first."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.mark = sys.maxsize
        self.left = 0
        self.wrong = 0
        self._marks: deque[int] = deque()

    def put(self, mark: int) -> None:
        """Tell when all have come to `mark`; marks rise."""
        self._marks.append(mark)
        if len(self._marks) == 1:
            self._count()

    def reached(self) -> None:
        """The last of the listeners has come to the first mark."""
        print(self._marks.popleft(), self.wrong, flush=True)
        self.mark = sys.maxsize
        self._count()

    def _count(self) -> None:
        while self._marks:
            mark = self._marks[0]
            self.left = sum(1 for listener in self.listeners if listener.last < mark)
            if self.left:
                self.mark = mark
                return
            print(self._marks.popleft(), self.wrong, flush=True)


class Listener:
    """One subscription: the last number that it was told."""

    __slots__ = ("_board", "last")

    def __init__(self, board: Board) -> None:
        self._board = board
        self.last = 0

    def told(self, number: int) -> None:
        last, board = self.last, self._board
        self.last = number
        if number != last + 1 and last:
            board.wrong += 1
        if last < board.mark <= number:
            board.left -= 1
            if not board.left:
                board.reached()


async def _listen(port: int, clients: int, each: int) -> None:
    board = Board()
    async with AsyncExitStack() as stack:
        for _ in range(clients):
            client = await stack.enter_async_context(Client(f"127.0.0.1:{port}"))
            station = client.get_or_create(Station, KEY)
            for _ in range(each):
                listener = Listener(board)
                board.listeners.append(listener)
                station.on("told", listener.told)
        loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        async for line in lines:
            board.put(int(line))


class Listeners:
    """The processes, as whoever publishes sees them."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self._wrong = [0] * len(processes)

    def mark(self, number: int) -> None:
        """Ask to be told when all have got this number."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"%d\n" % number)

    async def reached(self, number: int) -> None:
        """Wait until all have got this number, which was marked and is the next."""
        for index, process in enumerate(self._processes):
            assert process.stdout is not None
            async with asyncio.timeout(_WAIT_S):
                words = (await process.stdout.readline()).split()
            if not words or int(words[0]) != number:
                raise RuntimeError("a process of listeners has ended")
            self._wrong[index] = int(words[1])
        if any(self._wrong):
            raise AssertionError(f"{sum(self._wrong)} events were lost, or came twice")

    async def settle(self, station: Station) -> None:
        """Publish until all listen."""
        number = await station.tell()
        self.mark(number)
        reached = asyncio.ensure_future(self.reached(number))
        while not (await asyncio.wait((reached,), timeout=_PROBE_S))[0]:
            number = await station.tell()
        await reached
        self.mark(number)
        await self.reached(number)


@asynccontextmanager
async def listening(port: int, subscribers: int, sessions: int) -> AsyncIterator[Listeners]:
    """So many subscribers in so many sessions, shared out among processes."""
    count = min(sessions, PROCESSES_MAX)
    if sessions % count or subscribers % sessions:
        raise ValueError("subscribers and sessions are not shared out evenly")
    clients, each = str(sessions // count), str(subscribers // sessions)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.listeners", str(port), clients, each),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(count)
    ]
    try:
        yield Listeners(processes)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def main(port: str, clients: str, each: str) -> None:
    run(_listen(int(port), int(clients), int(each)))


if __name__ == "__main__":
    main(*sys.argv[1:])
