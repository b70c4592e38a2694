"""The conformance cases, each run by every language against one real server.

A runner runs once and prints a line per case; here each line becomes a test. The
runners of other languages are built by `make setup-conformance`; where one is missing
its cases are skipped by name, or fail if CI=true.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "conformance"
CASES = ROOT / "tests" / "conformance" / "cases"
# Below the time limit of a test, so that a runner that hangs is told from one that fails.
RUNNER_S = 45
NO_LINE = ""
LANGUAGES = ("python", "node", "go", "connect")
OVER_HTTP = ("connect",)
# On a port that speaks gRPC only.
ADMIN = "holdfast.v1.AdminService"
CASE_MEMBERS = {"name", "known_failure", "steps"}
CALL_MEMBERS = {"call", "request", "metadata", "timeout_s", "open", "take", "reply", "error"}
READ_MEMBERS = {"read", "take", "reply", "error"}
ERROR_MEMBERS = {
    "status", "message", "reason", "domain", "metadata", "retry_delay_ms", "fields"
}  # fmt: skip

Results = Callable[[str], dict[str, str]]


def load_cases() -> dict[str, dict[str, Any]]:
    """The cases by `file/name`, in the order in which they run."""
    return {
        f"{path.stem}/{case['name']}": case
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))
    }


def parameters() -> list[Any]:
    found = []
    for language in LANGUAGES:
        for name, case in load_cases().items():
            if language in OVER_HTTP and ADMIN in json.dumps(case):
                continue
            marks = []
            if "known_failure" in case:
                marks.append(pytest.mark.xfail(strict=True, reason=case["known_failure"]))
            found.append(pytest.param(language, name, id=f"{language}-{name}", marks=marks))
    return found


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Where a server of the cases' actors has gRPC, HTTP and its admin server; in a process of
    its own."""
    data = str(tmp_path_factory.mktemp("data"))
    command = [sys.executable, "-m", "tests.conformance.serve", data]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()
        finally:
            server.stdin.close()
            server.wait(timeout=30)


@pytest.fixture(scope="session")
def results(addresses: list[str]) -> Results:
    """What a language's runner printed: for each case its whole line."""

    @functools.cache
    def run(language: str) -> dict[str, str]:
        grpc, http, admin = addresses
        reached = [http] if language in OVER_HTTP else [grpc, admin]
        command = [*runner(language), *reached, str(CASES)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=RUNNER_S
            )
            printed, complaint = done.stdout, done.stderr[-1000:]
        except subprocess.TimeoutExpired:
            printed, complaint = "", f"it did not end within {RUNNER_S} s"
        lines = {line.partition(" ")[2].partition(": ")[0]: line for line in printed.splitlines()}
        lines[NO_LINE] = f"the runner printed no line for it: {complaint}"
        return lines

    return run


def runner(language: str) -> list[str]:
    """The command of a language's runner."""
    if language == "python":
        return [sys.executable, "-m", "tests.conformance.python.runner"]
    if language == "connect":
        return [sys.executable, "-m", "tests.conformance.python.connect"]
    launcher = BUILT / f"run-{language}"
    if launcher.exists():
        return [str(launcher)]
    reason = BUILT / f"{language}.missing"
    text = reason.read_text(encoding="utf-8").strip() if reason.exists() else "it was not built"
    text = f"no {language} runner: {text}; make setup-conformance"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


@pytest.mark.parametrize(("language", "name"), parameters())
def test_case(language: str, name: str, results: Results) -> None:
    lines = results(language)

    assert lines.get(name, lines[NO_LINE]) == f"ok {name}"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_of_cases_is_spelled_right(path: Path) -> None:
    cases = json.loads(path.read_text(encoding="utf-8"))

    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names)
    assert not any(": " in name for name in names)
    for case in cases:
        assert case.keys() <= CASE_MEMBERS
        for step in case["steps"]:
            if "read" in step:
                assert step.keys() <= READ_MEMBERS
            else:
                assert step.keys() <= CALL_MEMBERS
                assert {"call", "request"} <= step.keys()
            assert step.get("error", {}).keys() <= ERROR_MEMBERS
            for expected in (step.get("reply"), step.get("error")):
                assert leaned_on(expected) == set()


def leaned_on(expected: Any) -> set[str]:
    """Variables that members of one object name and their siblings capture: no language keeps
    an order of members that all keep."""
    if isinstance(expected, list):
        return set().union(*map(leaned_on, expected))
    if not isinstance(expected, dict):
        return set()
    found = set().union(*map(leaned_on, expected.values()))
    for name, value in expected.items():
        others = json.dumps([other for key, other in expected.items() if key != name])
        captured = re.findall(r'{"\$capture": "(\w+)"}', json.dumps(value))
        found |= {variable for variable in captured if f"${{{variable}}}" in others}
    return found
