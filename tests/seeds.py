"""The seed of a run: it fixes what tests draw, and is told with every failure.

How processes and threads meet is the machine's, so that a replay may take more than one
try.
"""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

SEED_VARIABLE: Final = "HOLDFAST_TEST_SEED"
_SEED = pytest.StashKey[int]()


def run_seed() -> int:
    """The seed of this run: of the environment, or a new one."""
    given = os.environ.get(SEED_VARIABLE)
    return random.SystemRandom().randrange(1_000_000) if given is None else int(given)


def seed_of(config: pytest.Config) -> int:
    """The seed of this run of pytest."""
    if _SEED not in config.stash:
        config.stash[_SEED] = run_seed()
    return config.stash[_SEED]


def is_seeded(item: pytest.Item) -> bool:
    """Whether what a test does depends on the seed."""
    seeded = {"crash", "simulation"} & set(item.path.parts)
    return "rng" in getattr(item, "fixturenames", ()) or bool(seeded)


def replay(item: pytest.Item) -> str:
    """The command that runs a test again, with its seed."""
    return f'{SEED_VARIABLE}={seed_of(item.config)} uv run pytest "{item.nodeid}"'


__all__ = ["SEED_VARIABLE", "is_seeded", "replay", "run_seed", "seed_of"]
