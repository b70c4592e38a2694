"""What a run of the peers measured, as a table, as JSON, and as charts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from statistics import median
from typing import Any

from bench.chart import Bar, bars
from bench.peers.turns import Measured, Outcome, Turn
from bench.table import machine


def _time(microseconds: float) -> str:
    return f"{microseconds:.0f} µs" if microseconds < 1000 else f"{microseconds / 1000:.1f} ms"


def cell(turn: Turn | None) -> str:
    """The rate and the latencies of a turn."""
    if turn is None:
        return ""
    p50, p99 = _time(turn.percentile("50")), _time(turn.percentile("99"))
    return f"**{turn.rate:,.0f}/s**, p50 {p50}, p99 {p99}"


def reference(outcome: Outcome, measured: Measured) -> Measured:
    """What a way is compared with: Holdfast called in the same way, or over its session."""
    ours = [each for each in outcome.measured if each.system == outcome.measured[0].system]
    same = [each for each in ours if each.way == measured.way and each.turns]
    return same[0] if same else ours[0]


def render(command: str, outcome: Outcome, now: datetime) -> str:
    """The table, as Markdown."""
    size = outcome.size
    most = max(size.in_flight)
    heads = [f"{each} in flight" for each in size.in_flight]
    lines = [
        f"`{command}`, {now:%Y-%m-%d}, on {machine()}.",
        f"Medians of {size.rounds} rounds of {size.seconds:g} s each, in turns; "
        f"one sync of this disk meanwhile: p50 {_time(median(outcome.syncs) * 1e6)}.",
        "",
        f"| system | synced | called by | {' | '.join(heads)} "
        f"| CPU of servers + load a call, {most} in flight "
        f"| Holdfast's rate to this, {most} in flight |",
        "|---|---|---|" + "---|" * (len(heads) + 2),
    ]
    for each in outcome.measured:
        if not each.turns:
            cells = [each.system, each.synced, each.way, f"not measured: {each.missing}"]
            cells += [""] * (len(heads) + 1)
        else:
            cells = [each.system, each.synced, each.way]
            cells += [
                cell(each.at(in_flight)) or f"failed: {each.missing}"
                for in_flight in size.in_flight
            ]
            cells += [_cpu(each.at(most)), _ratio(outcome, each, most)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cpu(turn: Turn | None) -> str:
    if turn is None:
        return ""
    load = median(each.cpu_seconds / each.calls for each in turn.samples) * 1e6
    return f"{turn.cpu_us:.0f} + {load:.0f} µs"


def _ratio(outcome: Outcome, each: Measured, in_flight: int) -> str:
    ours = reference(outcome, each)
    theirs, own = each.at(in_flight), ours.at(in_flight)
    if each.system == ours.system or theirs is None or own is None:
        return ""
    ratio = own.rate / theirs.rate
    return f"{ratio:.2f} ({ours.way})"


def record(outcome: Outcome) -> dict[str, Any]:
    """All figures, each round's too."""
    return {
        "rounds": outcome.size.rounds,
        "seconds": outcome.size.seconds,
        "actors": outcome.size.actors,
        "sync_us": [each * 1e6 for each in outcome.syncs],
        "measured": [_figures(outcome, each) for each in outcome.measured],
    }


def _figures(outcome: Outcome, each: Measured) -> dict[str, Any]:
    turns = [
        {
            "in_flight": turn.in_flight,
            "rate": turn.rate,
            "rates": [sample.rate for sample in turn.samples],
            "percentiles_us": {mark: turn.percentile(mark) for mark in turn.samples[0].percentiles},
            "server_cpu_us": turn.cpu_us,
            "load_share_of_core": turn.load_share,
            "holdfast_ratio": _number(outcome, each, turn),
        }
        for turn in each.turns
    ]
    named = {"system": each.system, "synced": each.synced, "way": each.way}
    return {**named, "missing": each.missing, "turns": turns}


def _number(outcome: Outcome, each: Measured, turn: Turn) -> float | None:
    own = reference(outcome, each).at(turn.in_flight)
    return None if own is None else own.rate / turn.rate


def charts(outcome: Outcome) -> dict[str, str]:
    """SVG by file name: rates with most in flight, and the p50 of a lone call."""
    most = max(outcome.size.in_flight)
    return {
        "peers-rate.svg": bars(
            f"Increments a second, {most} in flight", list(_rates(outcome, most)), "{:,.0f}/s"
        ),
        "peers-latency.svg": bars(
            "p50 of one call alone, milliseconds", list(_lone(outcome)), "{:.2f} ms"
        ),
    }


def _rates(outcome: Outcome, in_flight: int) -> Iterator[Bar]:
    for each in outcome.measured:
        turn = each.at(in_flight)
        if turn is not None:
            yield Bar(f"{each.system}: {each.way}", turn.rate, _tone(each))


def _lone(outcome: Outcome) -> Iterator[Bar]:
    for each in outcome.measured:
        turn = each.at(min(outcome.size.in_flight))
        if turn is not None:
            yield Bar(f"{each.system}: {each.way}", turn.percentile("50") / 1000, _tone(each))


def _tone(each: Measured) -> str:
    if each.system == "Holdfast":
        return "ours"
    return "synced" if each.synced == "yes" else "unsynced"
