"""What is not a fault of a simulated server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# A killed server is frozen where it stood: a task of it may never have taken its first step.
KILLED = "ignore:coroutine .* was never awaited:RuntimeWarning"


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(KILLED))
