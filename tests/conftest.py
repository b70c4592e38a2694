"""`--rotation i/n` takes each n-th test of a run, so that n runs take all of them."""

from __future__ import annotations

import zlib

import pytest


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
