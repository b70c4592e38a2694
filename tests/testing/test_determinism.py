"""One seed, one history."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from holdfast.testing import Harness, harness
from tests.server_process import ROOT
from tests.testing.actors import Dice, registry


async def history(seed: int, store: str = "memory") -> list[str]:
    """What happens in a run with crashes, retries, sends and racing calls."""
    async with harness(registry, seed=seed, store=store) as h:
        return await _run(h)


async def _run(h: Harness) -> list[str]:
    seen: list[str] = []
    for _ in range(3):
        with h.faults.drop_reply(times=2), h.faults.crash_after_commit(Dice, "roll"):
            rolls = [h.client.get_or_create(Dice, [key]).roll() for key in "abcd"]
            seen += await asyncio.gather(*rolls)
        await h.advance(minutes=h.random.randint(1, 9))
        seen.append(str(h.now()))
    for key in ("ax", "bx", "cx", "dx"):
        seen += map(str, await h.client.get(Dice, [key]).lines())
    return [*seen, str(h.crashes), str(h.now())]


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
async def test_two_runs_with_one_seed_are_alike(store: str) -> None:
    first, second, other = [await history(seed, store) for seed in (7, 7, 8)]

    assert len(first) > 20
    assert first == second
    assert not set(first[:4]) & set(other[:4])


async def test_the_store_makes_no_difference() -> None:
    assert await history(7) == await history(7, "rocksdb")


def test_two_processes_with_one_seed_are_alike() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "tests.testing.test_determinism"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    (output,) = outputs
    assert output.count("heard") > 3


if __name__ == "__main__":
    sys.stdout.write("\n".join(asyncio.run(history(7))))
