"""The seed of the run: it picks the kills of a short run, and is told with every failure.

It fixes what is drawn: the points, how often they are passed, what the clients
ask for. How processes and threads meet is the machine's, so that a replay may
take more than one try.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.crash.cases import SEED_VARIABLE, chosen, run_seed

_HERE = Path(__file__).parent
_SEED = pytest.StashKey[int]()


def _seed_of(config: pytest.Config) -> int:
    if _SEED not in config.stash:
        config.stash[_SEED] = run_seed()
    return config.stash[_SEED]


def _is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(_HERE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the kills that this run's seed did not pick to the long run."""
    picked = chosen(_seed_of(config))
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if _is_here(item) and case is not None and case not in picked:
            item.add_marker(pytest.mark.slow)


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> str:
    used = any(_is_here(item) for item in items)
    return f"crash tests: {SEED_VARIABLE}={_seed_of(config)}" if used else ""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Say how to replay a failure, whatever failed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and _is_here(item):
        command = f'{SEED_VARIABLE}={_seed_of(item.config)} uv run pytest "{item.nodeid}"'
        report.sections.append(("Replay with", command))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """Randomness of this test alone, from the seed of the run."""
    return Random(f"{_seed_of(request.config)} {request.node.name}")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data directory that the first server makes."""
    return str(tmp_path / "data")
