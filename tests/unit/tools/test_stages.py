"""`make test` leaves no test out, runs none twice, and fails when a stage has failed."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from tools import test as tool
from tools.test import REST, ROOT, STAGES, Outcome, Stage, command_of, directories_of, run, summary


def test_every_test_is_in_one_stage() -> None:
    directories = Counter(name for stage in STAGES for name in directories_of(stage))
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]

    assert set(directories.values()) == {1}
    assert {f"tests/{file.parts[1]}" for file in files} == set(directories)
    assert "tests/unit" in directories_of(REST)


def test_slow_tests_are_left_out_unless_asked_for() -> None:
    quick, everything = (command_of(REST, slow=slow) for slow in (False, True))

    assert quick is not None
    assert everything is not None
    assert quick == [*everything[:4], "-m", "not slow", *everything[4:]]


def test_a_stage_without_tests_is_not_run() -> None:
    assert command_of(Stage("none", 1, "nothing", ("no-such-directory",)), slow=False) is None


@pytest.mark.parametrize(("status", "passed"), [(0, True), (1, False), (5, True)])
def test_a_stage_passes_by_its_exit_status(status: int, passed: bool) -> None:
    assert run(REST, [sys.executable, "-c", f"raise SystemExit({status})"]).passed is passed


def test_the_summary_tells_what_took_too_long_and_what_failed() -> None:
    text = summary([Outcome(STAGES[0], 31.0, True), Outcome(REST, 2.0, False)])

    assert text.splitlines()[1:] == [
        "stage         seconds  budget",
        "lint             31.0      30  passed, over its budget",
        "unit              2.0      45  FAILED",
        "together         33.0",
    ]


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tool.main(["sever"])

    assert caught.value.code == 2
    assert "no such stage: sever" in capsys.readouterr().err
