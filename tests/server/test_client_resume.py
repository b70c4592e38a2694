"""Whatever is cut, each event of the log comes once and in order, or is told to be trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from holdfast import Client
from tests.server.cut_readers import NAMES, Log, Site
from tests.server.cutting import Proxy, proxied
from tests.server.restartable import RestartableServer, server_process

BOARDS = "tests.server.live_actors:registry"
SITES = 6
SMALL_S = 0.01


async def until(condition: Callable[[], Any]) -> None:
    """The condition holds; the test's own timeout ends the wait."""
    while not condition():  # noqa: ASYNC110 - what another process does signals nothing here
        await asyncio.sleep(SMALL_S)


class Storm:
    """Cuts what goes through its proxies, and kills the server, until it was enough."""

    def __init__(self, server: RestartableServer, random: Random, cuts: int, kills: int) -> None:
        self.proxies: list[Proxy] = []
        self._server = server
        self._random = random
        self._cuts = cuts
        self._kills = kills

    @property
    def cuts(self) -> int:
        """How many connections were cut."""
        return sum(proxy.cuts for proxy in self.proxies)

    async def rage(self) -> None:
        """Until there have been so many cuts, with the kills spread among them."""
        async with asyncio.TaskGroup() as group:
            for number, proxy in enumerate(self.proxies):
                group.create_task(self._cut(proxy, Random(f"{self._random.random()} {number}")))
            group.create_task(self._kill())

    async def _kill(self) -> None:
        for number in range(self._kills):
            at = self._cuts * (number + 1) // (self._kills + 1)
            await until(lambda at=at: self.cuts >= at)
            await self._server.kill()
            await self._server.start()

    async def _cut(self, proxy: Proxy, random: Random) -> None:
        while self.cuts < self._cuts:
            await asyncio.sleep(random.uniform(0, 0.05))
            kind = random.choice(["cut", "cut", "up", "down", "down", "stall", "stall", "refuse"])
            if kind == "cut":
                proxy.cut()
            elif kind in ("up", "down"):
                # In the middle of a frame, most likely.
                proxy.cut_after(kind, random.randrange(1, 2000))
            elif kind == "stall":
                proxy.stall()
                await asyncio.sleep(random.uniform(0, 0.05))
                if random.random() < 0.5:
                    proxy.cut()
                proxy.flow()
            else:
                proxy.closed = True
                proxy.cut()
                await asyncio.sleep(random.uniform(0, 0.02))
                proxy.closed = False


class Writer:
    """Writes one log, and tells the sites that read it."""

    def __init__(self, client: Client, log: Log, random: Random, burst: int) -> None:
        self.log = log
        self.over = False
        self.told: dict[str, int] = {}
        self._board: Any = client.get_or_create("board", [log.key])
        self._random = random
        self._burst = burst

    async def run(self) -> None:
        """Until `over`; the last event of each name comes at the end."""
        while not self.over:
            await self.emit(self._random.choices(NAMES, k=self._random.randrange(1, self._burst)))
            for name in self.told:
                assert await self._board.tell(f"{name} hears", self.told[name]) == 1
                self.told[name] += 1
            await asyncio.sleep(self._random.uniform(0, 0.02))
        await self.emit(list(NAMES))

    async def emit(self, names: list[str]) -> None:
        """Emit one event for each name."""
        first = len(self.log.names) + 1
        # Before it is called: they may come before the answer.
        self.log.names += names
        await self._board.emit(first, names)

    async def entries(self) -> list[str]:
        """What the sites have written."""
        found: list[str] = await self._board.entries()
        return found


async def storm(directory: Path, random: Random, *flags: str, cuts: int, kills: int) -> list[Site]:
    """Sites that have been through so many cuts, each checked, and with all that is its own."""
    burst = 100 if flags else 8
    sites: list[Site] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(BOARDS, directory / "data", *flags))
        client = await stack.enter_async_context(Client(server.address, timeout=None))
        writers = [Writer(client, Log(key), Random(random.random()), burst) for key in "xy"]
        weather = Storm(server, Random(random.random()), cuts, kills)
        for number in range(SITES):
            proxy = await stack.enter_async_context(proxied(server.address))
            writer = writers[number % len(writers)]
            site = Site(f"site{number}", proxy.address, writer.log, Random(random.random()))
            await stack.enter_async_context(site.open())
            weather.proxies.append(proxy)
            writer.told[site.name] = 0
            sites.append(site)
        writing = [asyncio.create_task(writer.run()) for writer in writers]
        # Whoever reads "from now on" has begun to.
        await until(lambda: all(site.reads for site in sites))
        await weather.rage()
        for writer in writers:
            writer.over = True
        await asyncio.gather(*writing)
        await until(lambda: all(site.done for site in sites))
        told = {name: count for writer in writers for name, count in writer.told.items()}
        await until(lambda: all(len(site.told) >= told[site.name] for site in sites))
        for site in sites:
            await site.finish()
        entries = [entry for writer in writers for entry in await writer.entries()]
    for site in sites:
        assert site.wrong == []
        assert site.told == list(range(told[site.name]))
        assert len(site.opened) == 2
        mine = [entry for entry in entries if entry.split()[0] == site.name]
        assert mine == site.written
    return sites


def gaps_of(sites: list[Site]) -> int:
    """How often a reader was told that events are missing."""
    return sum(len(reader.gaps) for site in sites for reader in site.readers)


async def test_no_event_is_lost_or_doubled(tmp_path: Path, rng: Random) -> None:
    assert gaps_of(await storm(tmp_path, rng, cuts=150, kills=1)) == 0


async def test_what_is_trimmed_meanwhile_is_told(tmp_path: Path, rng: Random) -> None:
    assert gaps_of(await storm(tmp_path, rng, "--events-max", "128", cuts=100, kills=0)) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_event_is_lost_or_doubled_in_thousands_of_cuts(
    tmp_path: Path, rng: Random
) -> None:
    assert gaps_of(await storm(tmp_path, rng, cuts=3000, kills=20)) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_what_is_trimmed_in_thousands_of_cuts_is_told(tmp_path: Path, rng: Random) -> None:
    assert gaps_of(await storm(tmp_path, rng, "--events-max", "128", cuts=2000, kills=10)) > 0
