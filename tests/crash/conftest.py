"""The kills of a short run, which its seed picks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.cases import chosen
from tests.seeds import seed_of

_HERE = Path(__file__).parent


def _is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(_HERE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the kills that this run's seed did not pick to the long run."""
    picked = chosen(seed_of(config))
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if _is_here(item) and case is not None and case not in picked:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data directory that the first server makes."""
    return str(tmp_path / "data")
