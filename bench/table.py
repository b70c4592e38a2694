"""The table of results, and its place in docs/performance.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.servers import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_MARK = {True: "yes", False: "no", None: ""}


@dataclass(frozen=True, slots=True)
class Row:
    """One result: what it is of, its value, what it is measured against, the goal."""

    name: str
    value: str
    against: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Result:
    """The rows of one benchmark, and how often it measured."""

    command: str
    rounds: int
    rows: list[Row] = field(default_factory=list)


def machine() -> str:
    """What measured, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, grpcio {version('grpcio')}, "
        f"uvloop {version('uvloop')}, rocksdict {version('rocksdict')}"
    )


def render(command: str, results: list[Result], now: datetime) -> str:
    """The results as Markdown."""
    rounds = ", ".join(f"`{each.command}` {each.rounds}" for each in results)
    lines = [
        f"`{command}`, {now:%Y-%m-%d}, on {machine()}.",
        f"Each number is the median of its rounds ({rounds}); what is compared takes turns.",
        "",
        "| what | measured | against | ratio | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in (row for each in results for row in each.rows):
        cells = (row.name, row.value, row.against, row.ratio, row.goal, _MARK[row.met])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(results: list[Result], command: str) -> str:
    """Print the results; the text."""
    text = render(command, results, datetime.now(UTC))
    print(text, flush=True)
    return text


def write(text: str, page: Path = PAGE, begin: str = BEGIN, end: str = END) -> None:
    """Put a table between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no place for the table")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
