"""`make run` without a terminal: it talks, it survives a kill, it drains, it explains itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.test_chat import NEW, REMEMBERED
from tests.server_process import ROOT, environment, free_address

RUNNING = "Ctrl-C here stops it."


class Run:
    """One `make run`, and what it has printed so far."""

    def __init__(self, address: str, data: Path) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.run", "--grpc", address, "--data", str(data)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, end: str) -> list[str]:
        """Read on to the line `end`; the lines so far."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.rstrip("\n") == end:
                return self.output.splitlines()
        pytest.fail(f"{end!r} was never printed:\n{self.output}")

    def finish(self) -> int:
        """Read to the end; the exit status."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait()

    @property
    def server_pid(self) -> int:
        found = re.search(r"as process (\d+)\.", self.output)
        assert found is not None
        return int(found[1])


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Runs to be ended with the test."""
    started: list[Run] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.terminate()
            each.finish()


def contains(lines: list[str], wanted: list[str]) -> bool:
    """Whether `wanted` stands in `lines`, in one piece."""
    size = len(wanted)
    return any(lines[at : at + size] == wanted for at in range(len(lines) - size + 1))


def test_the_chat_is_there_after_a_kill(runs: list[Run], tmp_path: Path) -> None:
    address = free_address()
    runs.append(first := Run(address, tmp_path / "data"))
    assert contains(first.until(RUNNING), NEW)

    os.kill(first.server_pid, signal.SIGKILL)

    assert first.finish() == 1
    assert "The server was ended by SIGKILL. What it had answered is in" in first.output

    runs.append(second := Run(address, tmp_path / "data"))
    assert contains(second.until(RUNNING), REMEMBERED)

    second.process.terminate()

    assert second.finish() == 0
    assert "Draining the server" in second.output
    assert "The server has stopped; the chat is in" in second.output


def test_the_next_commands_work_as_they_are_printed(runs: list[Run], tmp_path: Path) -> None:
    runs.append(run := Run(free_address(), tmp_path / "data"))
    text = "\n".join(run.until(RUNNING)).replace("\\\n", "")
    commands = re.findall(r"^  ((?:HOLDFAST_SERVER=\S+ )?\.venv/bin/.*)$", text, re.MULTILINE)
    assert len(commands) == 4

    done = [
        subprocess.run(
            command.replace(".venv/bin", str(Path(sys.executable).parent)),
            shell=True,
            cwd=ROOT,
            env=environment(),
            input="said in a terminal\n",
            capture_output=True,
            text=True,
            check=False,
        )
        for command in commands
    ]

    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 4
    assert "-- here: ada (/help for help)" in done[0].stdout
    assert "said in a terminal" in done[1].stdout
    assert '"number": 4' in done[2].stdout
    assert '"data"' in done[3].stdout


def test_an_address_in_use_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = Run(address, tmp_path / "data")
        status = run.finish()

    assert status == 1
    assert f"cannot serve on {address}" in run.output
    assert "HOLDFAST_GRPC=" in run.output
    assert not (tmp_path / "data").exists()


def test_an_address_that_is_none_is_explained(tmp_path: Path) -> None:
    run = Run("here", tmp_path / "data")

    assert run.finish() == 1
    assert "'here' is no HOST:PORT" in run.output


def test_a_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Run(free_address(), tmp_path / "file" / "data")

    assert run.finish() == 1
    assert "the server did not start" in run.output
