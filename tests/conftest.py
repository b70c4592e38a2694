"""For all tests: `--rotation i/n` takes each n-th test of a run, so that n runs take all of
them; `rng` is randomness from the seed of the run, which is told."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Sequence
from random import Random
from typing import Any

import pytest

from tests.seeds import SEED_VARIABLE, is_seeded, replay, seed_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rotation", metavar="i/n", help="run the tests of the i-th of n parts, from 0"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rotation: str | None = config.getoption("--rotation")
    if rotation is None:
        return
    part, parts = map(int, rotation.split("/"))
    # By its name, so that a test stays in its part whatever else is collected.
    mine = [item for item in items if zlib.crc32(item.nodeid.encode()) % parts == part]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(mine)])
    items[:] = mine


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> str:
    used = any(is_seeded(item) for item in items)
    return f"{SEED_VARIABLE}={seed_of(config)}" if used else ""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Say how to replay a failure, whatever failed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and is_seeded(item):
        report.sections.append(("Replay with", replay(item)))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """Randomness of this test alone, from the seed of the run."""
    return Random(f"{seed_of(request.config)} {request.node.name}")
