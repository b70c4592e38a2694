"""Replays one simulation, or runs many: `python -m tests.simulation --seed 7 --mode full`."""

from __future__ import annotations

import argparse
import sys

from tests.crash.builds import BUILDS
from tests.seeds import run_seed
from tests.simulation.modes import MODES
from tests.simulation.simulate import simulate


def tell(text: str) -> None:
    """Write to standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; a new one where there is none")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--build", choices=BUILDS, default="sound", help="a broken build")
    parser.add_argument("--lines", action="store_true", help="print the history")
    options = parser.parse_args()
    first = run_seed() if options.seed is None else options.seed
    failed = 0
    for seed in range(first, first + options.count):
        for mode in MODES if options.mode == "all" else [options.mode]:
            verdict = simulate(seed, mode, options.build)
            if options.lines:
                tell("\n".join(verdict.lines))
            tell(f"{seed} {mode} {verdict.digest} {len(verdict.violations)} violations")
            if verdict.violations:
                failed += 1
                tell(str(verdict))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
