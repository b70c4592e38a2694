"""The run beside peers, with Holdfast alone and counts at which its numbers say nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import chart, compare, idle, record, table
from bench.load import program
from bench.load.driver import LoadError, Sample
from bench.load.program import Missing
from bench.peers import __main__ as command
from bench.peers import report, subject
from bench.peers.catalog import ALL, OURS
from bench.peers.holdfast import HERE
from bench.peers.subject import Place, Subject, Way
from bench.peers.turns import Measured, Outcome, Size, Turn, measure
from bench.processes import free_port, group

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TINY = Size(rounds=1, seconds=0.02, warm_seconds=0.02, actors=3, in_flight=(1, 4), syncs=2)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_holdfast_is_called_in_every_way_that_can_be_had_and_every_call_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # RivetKit's clients, which take seconds to start, are those of the slow test.
    monkeypatch.setattr(subject, "BUILT", tmp_path)

    outcome = measure([(OURS, ALL[OURS])], TINY)

    ways = {each.way: each for each in outcome.measured}
    wanted = ["session, Python SDK", "unary gRPC, bare load"]
    wanted += ["HTTP, C load", "WebSocket, C load"] * program.available()
    for name in wanted:
        assert [turn.in_flight for turn in ways[name].turns] == [1, 4]
        assert all(turn.rate > 0 for turn in ways[name].turns)
    for each in outcome.measured:
        assert bool(each.turns) != bool(each.missing)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name != "Rivet engine 2.3.19"])
def test_what_is_installed_is_called_in_all_its_ways(name: str) -> None:
    outcome = measure([(name, ALL[name])], TINY)

    missing = [each.missing for each in outcome.measured if each.missing]
    if any("not installed" in why or "cannot be installed" in why for why in missing):
        pytest.skip(missing[0])
    assert missing == []


class Lying:
    """A load that says of each call that it was made once more."""

    def run(self, in_flight: int, seconds: float) -> Sample:
        return Sample(1, 0.5, 0.0, {"50": 1.0})

    def total(self) -> int:
        return 0


def test_counters_that_do_not_add_up_are_an_error() -> None:
    def start(place: Place) -> Subject:
        return Subject("lying", "yes", place.group("server"), [Way("a way", Lying())])

    with pytest.raises(AssertionError, match="lying, a way: 3 calls were answered, and 0 took"):
        measure([("lying", start)], TINY)


def test_a_way_of_another_system_that_fails_or_miscounts_is_a_row_that_says_so() -> None:
    class Failing(Lying):
        def run(self, in_flight: int, seconds: float) -> Sample:
            raise LoadError("it answers\nnothing")

    class Overwhelmed(Lying):
        def run(self, in_flight: int, seconds: float) -> Sample:
            if in_flight > 16:
                raise LoadError("too many")
            return super().run(in_flight, seconds)

    class Honest(Lying):
        def total(self) -> int:
            return 3

    def ours(place: Place) -> Subject:
        return Subject("ours", "yes", place.group("server"), [Way("a way", Honest())])

    def other(place: Place) -> Subject:
        ways = [Way("lies", Lying()), Way("fails", Failing()), Way("is well", Honest())]
        ways.append(Way("is overwhelmed", Overwhelmed()))
        return Subject("other", "yes", place.group("server"), ways)

    outcome = measure([("ours", ours), ("other", other)], replace(TINY, in_flight=(1, 20)))

    assert [(each.way, each.missing, len(each.turns)) for each in outcome.measured] == [
        ("a way", "", 2),
        ("lies", "3 calls were answered, and 0 took effect", 0),
        ("fails", "it answers nothing", 0),
        ("is well", "", 2),
        ("is overwhelmed", "20 in flight: too many", 1),
    ]


def test_a_system_that_is_not_installed_is_a_row_that_says_so() -> None:
    def start(place: Place) -> Subject:
        raise Missing("no such thing here")

    outcome = measure([("other", start)], TINY)

    assert [(each.system, each.missing) for each in outcome.measured] == [
        ("other", "no such thing here")
    ]
    assert "| other |  |  | not measured: no such thing here |" in report.render(
        "x", with_ours(outcome), NOW
    )


def measured(system: str, way: str, rate: int, synced: str = "yes") -> Measured:
    sample = Sample(rate, 1.0, 0.1, {"50": 1500.0, "99": 2500.0})
    turns = [Turn(in_flight, [sample], [20.0]) for in_flight in (1, 4)]
    return Measured(system, synced, way, turns)


def with_ours(outcome: Outcome) -> Outcome:
    ours = [measured(OURS, "session, Python SDK", 400), measured(OURS, "HTTP, C load", 200)]
    return Outcome(outcome.size, [*ours, *outcome.measured], [0.0002])


def test_others_are_compared_with_the_same_way_or_else_the_session() -> None:
    given = [measured("A", "HTTP, C load", 100), measured("B", "its client", 100, "no")]

    lines = report.render("x", with_ours(Outcome(TINY, given, [])), NOW).splitlines()

    assert "| 2.00 (HTTP, C load) |" in next(line for line in lines if line.startswith("| A |"))
    assert "| 4.00 (session, Python SDK) |" in next(
        line for line in lines if line.startswith("| B |")
    )
    assert "**100/s**, p50 1.5 ms, p99 2.5 ms" in lines[-1]
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}


def test_what_is_written_is_a_table_charts_and_json(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{command.BEGIN}\n{command.END}\nb\n", encoding="utf-8")
    outcome = with_ours(Outcome(TINY, [measured("A <&>", "HTTP, C load", 100, "no")], []))

    command.write("the table", outcome, page, tmp_path / "images")
    path = record.write("peers", "x", {"peers": report.record(outcome)}, tmp_path)

    assert page.read_text(encoding="utf-8") == (
        f"a\n{command.BEGIN}\nthe table\n{command.END}\nb\n"
    )
    images = sorted((tmp_path / "images").iterdir())
    assert [image.name for image in images] == ["peers-latency.svg", "peers-rate.svg"]
    for image in images:
        told = " ".join(ET.parse(image).getroot().itertext())
        assert "A <&>: HTTP, C load" in told
        assert "others, not synced" in told
    told_turn = json.loads(path.read_text())["peers"]["measured"][2]["turns"][1]
    assert told_turn["holdfast_ratio"] == 2.0
    assert told_turn["percentiles_us"] == {"50": 1500.0, "99": 2500.0}


def test_bars_are_as_long_as_their_values() -> None:
    drawn = chart.bars("t", [chart.Bar("a", 10, "ours"), chart.Bar("b", 5, "synced")], "{:g}")

    bars = [each for each in ET.fromstring(drawn).iter() if each.get("height") == "16"]
    assert float(bars[0].attrib["width"]) == 2 * float(bars[1].attrib["width"])


def test_idle_connections_are_measured() -> None:
    size = idle.Size(connections=20, actors=3, warm=2, settle_s=0)

    row = idle.measure(size).rows[0]

    assert row.name.endswith("of 20")
    assert row.value.endswith("bytes")


def test_a_limit_on_open_files_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (600, 600))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)

    assert idle.Size().fitting().connections == 100


@pytest.mark.slow
def test_a_tree_is_compared_with_another_by_the_ways_of_both() -> None:
    size = Size(rounds=1, seconds=0.02, warm_seconds=0.02, actors=3, in_flight=(2,), syncs=2)

    outcome = compare.against(HERE, "before", size)

    lines = compare.render("x", outcome, "before", NOW).splitlines()
    assert lines[3] == "| what | before | this tree | rate | p50 | p99 | CPU |"
    rows = [line.split(" | ") for line in lines if "2 in flight" in line]
    assert len(rows) == 2 + 2 * program.available()
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in rows)


def test_a_comparison_has_the_ratios_of_what_both_measured() -> None:
    given = [measured("before", "a", 100), measured("this tree", "a", 150)]
    given += [measured("this tree", "b", 150), Measured("before", "", "b", missing="none there")]

    text = compare.render("x", Outcome(TINY, given, []), "before", NOW)

    assert "**150/s**, p50 1.5 ms, p99 2.5 ms | 1.50 | 1.00 | 1.00 | 1.00 |" in text
    assert "| b, 1 in flight |  | **150/s**, p50 1.5 ms, p99 2.5 ms |  |  |  |  |" in text
    assert text.endswith("before: b: not measured: none there")


def test_a_revision_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no-such-revision is no revision"):
        compare.checkout("no-such-revision")


def test_processes_are_found_and_ended_also_when_they_leave_their_parent(tmp_path: Path) -> None:
    port = free_port()
    child = f"import socket, time; socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], "
    parent += "start_new_session=True)"
    with group(tmp_path / "log") as processes:
        started = processes.start([sys.executable, "-c", parent], tmp_path, {})
        assert started.wait(30) == 0
        with pytest.raises(RuntimeError, match="has ended"):
            processes.check()
        [pid] = processes.pids()
        assert pid != started.pid
        assert processes.resident_bytes > 0
    assert processes.pids() == []


def test_the_peers_are_locked_and_described() -> None:
    peers = Path(report.__file__).parent
    text = (peers / "README.md").read_text(encoding="utf-8")
    for place in (path.parent for path in peers.glob("*/peer.py")):
        assert f"## `{place.name}`" in text
        assert list(place.glob("package-lock.json")) or list(place.glob("requirements.txt"))


def test_an_unknown_peer_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers", "nobody"],
        cwd=table.PAGE.parents[1],
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "no such peers: nobody; there are Holdfast, RivetKit 2.0.33" in done.stderr
