"""`make test` leaves no test out, runs none twice, and fails when a stage has failed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tools import test as tool
from tools.test import REST, ROOT, STAGES, Outcome, Stage, command_of, directories_of, run, summary


def test_every_test_is_in_one_stage() -> None:
    directories = Counter(name for stage in STAGES for name in directories_of(stage))
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    examples = {"examples"} if [*(ROOT / "examples").rglob("test_*.py")] else set()

    assert set(directories.values()) == {1}
    assert {f"tests/{file.parts[1]}" for file in files} | examples == set(directories)
    assert "tests/unit" in directories_of(REST)


def test_slow_tests_are_left_out_unless_asked_for() -> None:
    quick, everything = (command_of(REST, 1, everything=each) for each in (False, True))

    assert quick is not None
    assert everything is not None
    at = quick.index("not slow")
    assert quick[at - 1] == "-m"
    assert [*quick[: at - 1], *quick[at + 1 :]] == everything


def test_a_stage_without_tests_is_not_run() -> None:
    stage = Stage("none", 1, "nothing", ("no-such-directory",))
    assert command_of(stage, 1, everything=False) is None


def test_seeds_that_follow_each_other_take_every_part_of_a_stage() -> None:
    stage = Stage("some", 1, "some", ("unit",), rotation=3)
    commands = [command_of(stage, seed, everything=False) for seed in (7, 8, 9)]

    assert {command[-2] for command in commands if command} == {"0/3", "1/3", "2/3"}
    assert "--rotation" not in (command_of(stage, 7, everything=True) or [])


def test_the_parts_of_a_rotation_are_all_tests_and_share_none() -> None:
    listed = [
        subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", *rotation, __file__],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for rotation in ([], ["--rotation", "0/2"], ["--rotation", "1/2"])
    ]
    every, first, second = ({line for line in lines if "::" in line} for lines in listed)

    assert first
    assert second
    assert first | second == every
    assert not first & second


@pytest.mark.parametrize(("status", "passed"), [(0, True), (1, False), (5, True)])
def test_a_stage_passes_by_its_exit_status(status: int, passed: bool) -> None:
    assert run(REST, [sys.executable, "-c", f"raise SystemExit({status})"]).passed is passed


def test_the_summary_tells_what_took_too_long_and_what_failed() -> None:
    text = summary([Outcome(STAGES[0], 61.0, True), Outcome(REST, 2.0, False)])

    assert text.splitlines()[1:] == [
        "stage         seconds  budget",
        "lint             61.0      60  passed, over its budget",
        "unit              2.0      90  FAILED",
        "together         63.0",
    ]


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tool.main(["sever"])

    assert caught.value.code == 2
    assert "no such stage: sever" in capsys.readouterr().err
