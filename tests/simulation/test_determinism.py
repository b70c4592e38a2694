"""One seed, one history: the same bytes in any process, whatever ran before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.server_process import ROOT
from tests.simulation.modes import MODES
from tests.simulation.simulate import simulate

SEED = 5

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("mode", MODES)
def test_one_seed_gives_one_history(mode: str) -> None:
    first, again = simulate(SEED, mode), simulate(SEED, mode)

    assert first.lines == again.lines
    assert first.digest == again.digest
    assert len(first.lines) > 100


def test_the_digest_is_the_same_in_processes_that_hash_differently() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(SEED), "--mode", "full"]
    command += ["--lines"]
    outputs = {
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    (output,) = outputs
    here = simulate(SEED, "full")
    assert output.splitlines()[:-1] == here.lines
    assert output.splitlines()[-1].split()[2] == here.digest
    assert here.digest != simulate(SEED + 1, "full").digest


def test_a_failing_seed_prints_the_command_that_replays_it() -> None:
    failed = simulate(1, "plain", "doubled")
    (first, *_) = str(failed).splitlines()
    command = first.removeprefix("replay with: uv run python -m tests.simulation ")

    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert failed.digest in done.stdout
    assert failed.violations[0] in done.stdout
