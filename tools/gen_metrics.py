"""Writes docs/metrics.md from the table of metrics.

`python -m tools.gen_metrics` writes it; a test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from holdfast_server.telemetry.metrics import METRICS, PROCESS, Metric

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

_INTRODUCTION: Final = """# Metrics

<!-- Written by `make gen` from telemetry/metrics.py. -->

Every metric of a server, as `http://127.0.0.1:6431/metrics` tells it to Prometheus and as it is
exported by OTLP, under the same names. [Operations](operations.md#metrics) says how to get at them.

Histograms of seconds have buckets from 64 µs to 67 s, each twice as wide as the one before.
Counters begin at 0 with the process. Where a label could have very many values, there is a bound:
of actions and classes of actors the first `metrics_actions_max` of the registry have names of
their own, the others are `other`; reasons, statuses and methods are those of the
[catalogue](errors.md) and of the protos. No label has a key, an id or a namespace.

| metric | kind | labels | what it says |
|---|---|---|---|
"""
_PROCESS: Final = """
On Linux the process tells of itself too, at `/metrics` only:

| metric | kind | what it says |
|---|---|---|
"""


def render() -> str:
    """The page."""
    own = "".join(_row(metric) for metric in METRICS.values())
    process = "".join(f"| `{name}` | {kind} | {text} |\n" for name, kind, text in PROCESS)
    return _INTRODUCTION + own + _PROCESS + process


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |\n"


def main() -> int:
    """Write the page; the exit code."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
