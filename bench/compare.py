"""This tree against an older revision of it, in one run, taking turns.

`python -m bench.compare REV` (or `make bench-compare REV=...`) checks REV out into
build/compare, with its own locked dependencies, and starts both servers. Each is called
by the SDK of its own revision, by bare unary calls, and by the C load through its
gateway; every counter must show exactly the calls that were answered. It prints a table
and writes build/bench/compare.json.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import record
from bench.peers import report
from bench.peers.holdfast import HERE, Tree, start_tree
from bench.peers.subject import Place, Start, Subject
from bench.peers.turns import Measured, Outcome, Size, Turn, measure
from bench.servers import ROOT
from bench.table import machine

COMMAND = "make bench-compare REV="
FULL = Size(rounds=5, actors=1000)
_CHECKOUTS = ROOT / "build" / "compare"


def checkout(asked: str) -> tuple[str, Path]:
    """The short id of a revision, and a worktree of it, made and set up if it is not there."""
    command = ["git", "rev-parse", "--verify", "--quiet", f"{asked}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise ValueError(f"{asked} is no revision of this repository")
    revision = found.stdout.strip()[:12]
    root = _CHECKOUTS / revision
    if not (root / "uv.lock").exists():
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", str(root), revision],
            cwd=ROOT,
            check=True,
        )
    subprocess.run(["uv", "sync", "--frozen", "--quiet"], cwd=root, check=True)
    return revision, root


def _start(name: str, tree: Tree, place: Place) -> Subject:
    return start_tree(place, name, tree, {})


def against(tree: Tree, name: str, size: Size) -> Outcome:
    """Measure a tree of that name, and then this one."""
    starts: list[tuple[str, Start]] = [
        (name, partial(_start, name, tree)),
        ("this tree", partial(_start, "this tree", HERE)),
    ]
    return measure(starts, size)


def render(command: str, outcome: Outcome, name: str, now: datetime) -> str:
    """Ratios above 1 say that this tree is faster, or slower to answer."""
    size = outcome.size
    lines = [
        f"`{command}`, {now:%Y-%m-%d}, on {machine()}.",
        f"Medians of {size.rounds} rounds of {size.seconds:g} s each, in turns.",
        "",
        f"| what | {name} | this tree | rate | p50 | p99 | CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    olds = {each.way: each for each in outcome.measured if each.system == name}
    for new in outcome.measured:
        if new.system == name:
            continue
        old = olds.get(new.way)
        for turn in new.turns:
            lines.append(_line(new, turn, None if old is None else old.at(turn.in_flight)))
    return "\n".join([*lines, *(_missing(each) for each in outcome.measured if each.missing)])


def _line(new: Measured, turn: Turn, before: Turn | None) -> str:
    cells = [f"{new.way}, {turn.in_flight} in flight", report.cell(before), report.cell(turn)]
    if before is not None:
        cells.append(f"{turn.rate / before.rate:.2f}")
        cells += [f"{turn.percentile(m) / before.percentile(m):.2f}" for m in ("50", "99")]
        cells.append(f"{turn.cpu_us / before.cpu_us:.2f}" if before.cpu_us else "")
    else:
        cells += [""] * 4
    return f"| {' | '.join(cells)} |"


def _missing(each: Measured) -> str:
    return f"\n{each.system}: {each.way}: not measured: {each.missing}"


def main(asked: str) -> None:
    try:
        name, root = checkout(asked)
    except ValueError as error:
        sys.exit(str(error))
    outcome = against(Tree(root, str(root / ".venv" / "bin" / "python")), name, FULL)
    print(render(COMMAND + asked, outcome, name, datetime.now(UTC)), flush=True)
    record.write("compare", COMMAND + asked, {"against": name, "peers": report.record(outcome)})


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: python -m bench.compare REV")
    main(sys.argv[1])
