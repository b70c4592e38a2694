"""Type checkers see actions without `c`, know their results and refuse wrong calls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.typing.checkers import HERE, Checker, Report, mypy, pyright

RIGHT = ["ok_actor.py", "ok_client.py", "ok_blocking.py"]
WRONG = ["bad_actor.py", "bad_client.py", "bad_blocking.py"]
CHECKERS: dict[str, Checker] = {"mypy": mypy, "pyright": pyright}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=list(CHECKERS))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run of one checker over all programs."""
    directory: Path = tmp_path_factory.mktemp(request.param)
    return CHECKERS[request.param](RIGHT + WRONG, directory)


def lines(name: str) -> list[tuple[int, str]]:
    return list(enumerate((HERE / name).read_text().splitlines(), 1))


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_and_their_types(report: Report, name: str) -> None:
    assert dict(report[name].errors) == {}
    wanted = {
        number: found[1]
        for number, line in lines(name)
        if (found := re.search(r"reveal_type\(.*\)  # (.*)", line))
    }
    assert report[name].revealed == wanted


@pytest.mark.parametrize("name", WRONG)
def test_wrong_lines_are_refused_and_no_other(report: Report, name: str) -> None:
    wanted = {number for number, line in lines(name) if line.endswith("# error")}
    assert set(report[name].errors) == wanted, report[name].errors
