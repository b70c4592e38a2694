"""`make test`: every check of this repository, in stages, and what each of them took.

Every stage runs, also after one has failed, so that one run tells everything. A
budget is what a stage should take on a machine with two cores; one that takes
longer is shown, and nothing fails for it. Where all tests of a stage take longer
than that, one run takes each n-th of them, beginning at its seed, so that n runs
with seeds that follow each other take all.

`python -m tools.test` runs all stages, `python -m tools.test server docs` some;
`--all` runs every test, also those marked slow.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
NOTHING_TO_RUN: Final = 5  # pytest's exit status when it found no test
SEED_VARIABLE: Final = "HOLDFAST_TEST_SEED"


@dataclass(frozen=True)
class Stage:
    """A group of checks: the linters, or the tests of some directories."""

    name: str
    budget_s: float
    what: str
    directories: tuple[str, ...] = ()
    # Processes that share its tests; what measures or kills by the clock has one.
    processes: int = 1
    # A short run takes one of so many tests.
    rotation: int = 1
    # Tests that do not stand under tests/.
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a stage went."""

    stage: Stage
    seconds: float
    passed: bool


REST: Final = Stage("unit", 90, "core, store, client and tools, each by itself", processes=2)
STAGES: Final = (
    Stage("lint", 60, "linters, types, imports, protos"),
    REST,
    Stage("server", 60, "a real server and a real client", ("server",), 2, 2),
    Stage("gateway", 120, "clients that speak HTTP and WebSocket", ("gateway",), 2),
    Stage("browser", 60, "pages in a real browser", ("browser",), 2),
    Stage(
        "docs",
        90,
        "examples, documentation, packages",
        ("examples", "docs", "packaging"),
        2,
        beside=("examples",),
    ),
    Stage("crash", 120, "servers that are killed under load", ("crash",)),
    Stage("simulation", 60, "the server in a simulated world, by seeds", ("simulation",), 2),
    Stage("conformance", 45, "clients in other languages", ("conformance",)),
)


def directories_of(stage: Stage) -> list[str]:
    """The directories of a stage that exist; those that no stage names are the unit tests'."""
    existing = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}
    if stage is REST:
        existing -= {name for other in STAGES for name in other.directories}
    else:
        existing &= set(stage.directories)
    return [*(f"tests/{name}" for name in sorted(existing)), *stage.beside]


def command_of(stage: Stage, seed: int, *, everything: bool) -> list[str] | None:
    """What runs a stage; None when it has nothing to run."""
    if stage.name == "lint":
        return ["make", "--no-print-directory", "lint"]
    directories = directories_of(stage)
    if not directories:
        return None
    options: list[str] = []
    if stage.processes > 1:
        options += ["-n", str(stage.processes)]
    if not everything:
        options += ["-m", "not slow"]
        if stage.rotation > 1:
            options += ["--rotation", f"{seed % stage.rotation}/{stage.rotation}"]
    return [sys.executable, "-m", "pytest", "-q", *options, *directories]


def seed_of(environ: Mapping[str, str]) -> int:
    """The seed of this run: of the environment, or a new one."""
    given = environ.get(SEED_VARIABLE)
    return random.SystemRandom().randrange(1_000_000) if given is None else int(given)


def run(stage: Stage, command: Sequence[str]) -> Outcome:
    """Run a stage; its output is shown as it comes."""
    print(f"\n=== {stage.name}: {stage.what}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    passed = status == 0 or (stage.name != "lint" and status == NOTHING_TO_RUN)
    return Outcome(stage, time.monotonic() - started, passed)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A table of what ran, how long it took, and how it went."""
    lines = ["", f"{'stage':<12} {'seconds':>8} {'budget':>7}"]
    for outcome in outcomes:
        stage = outcome.stage
        note = "" if outcome.seconds <= stage.budget_s else ", over its budget"
        how = "passed" if outcome.passed else "FAILED"
        lines.append(
            f"{stage.name:<12} {outcome.seconds:>8.1f} {stage.budget_s:>7.0f}  {how}{note}"
        )
    lines.append(f"{'together':<12} {sum(each.seconds for each in outcomes):>8.1f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(description="Run the checks of this repository.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(names))
    parser.add_argument("--all", action="store_true", help="every test, also the slow ones")
    options = parser.parse_args(arguments)
    unknown = set(options.stages) - set(names)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; one of {', '.join(names)}")
    seed = seed_of(os.environ)
    os.environ[SEED_VARIABLE] = str(seed)
    print(f"{SEED_VARIABLE}={seed}", flush=True)
    outcomes = []
    for stage in STAGES:
        command = command_of(stage, seed, everything=options.all)
        if command is not None and (not options.stages or stage.name in options.stages):
            outcomes.append(run(stage, command))
    print(summary(outcomes), flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
