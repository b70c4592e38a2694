"""Measures the peers beside Holdfast, and writes the table and the charts into docs.

`python -m bench.peers` measures all of bench/peers/catalog.py and writes;
`python -m bench.peers NAME...` measures those with these names beside Holdfast, and only prints.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import record, table
from bench.peers import report
from bench.peers.catalog import ALL, OURS
from bench.peers.turns import Outcome, Size, measure

COMMAND = "make bench-peers"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
FULL = Size()
IMAGES = table.PAGE.parent / "images"


def run(size: Size = FULL, names: list[str] | None = None) -> Outcome:
    """Measure those of these names, or all."""
    return measure([(name, ALL[name]) for name in names or ALL], size)


def write(text: str, outcome: Outcome, page: Path = table.PAGE, images: Path = IMAGES) -> None:
    """The table into the page, the charts beside it."""
    table.write(text, page, BEGIN, END)
    images.mkdir(exist_ok=True)
    for name, chart in report.charts(outcome).items():
        (images / name).write_text(chart, encoding="utf-8")


def main(names: list[str]) -> None:
    if unknown := set(names) - set(ALL):
        sys.exit(f"no such peers: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    asked = [OURS, *(name for name in names if name != OURS)] if names else None
    outcome = run(names=asked)
    text = report.render(COMMAND, outcome, datetime.now(UTC))
    print(text, flush=True)
    if not names:
        write(text, outcome)
        record.write("peers", COMMAND, {"peers": report.record(outcome)})


if __name__ == "__main__":
    main(sys.argv[1:])
