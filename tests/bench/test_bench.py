"""The benchmarks run, at a size at which their numbers say nothing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import (
    budget,
    fanout,
    listeners,
    memory,
    pending,
    resume,
    session,
    table,
    timers,
    unary,
    wake,
)
from bench.http2 import Connection
from bench.table import Result, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_unary_measures_every_server_and_counts_every_call() -> None:
    size = unary.Size(rounds=1, seconds=0.05, single_calls=3, syncs=2, actors=5)

    result = unary.measure(size)

    assert len(result.rows) == 5
    assert all(float(row.ratio) > 0 for row in result.rows[:4])


def test_wake_measures_actors_that_slept() -> None:
    result = wake.measure(wake.Size(rounds=1, actors=4))

    assert [float(row.ratio) > 0 for row in result.rows] == [True] * 4
    assert [row.name[-3:] for row in result.rows] == ["p50", "p99"] * 2


def test_session_measures_frames_of_the_same_calls_and_counts_every_call() -> None:
    size = session.Size(rounds=1, seconds=0.05, single_calls=3, syncs=2, actors=5, in_flight=8)

    result = session.measure(size)

    assert len(result.rows) == 7
    assert [row.against.startswith("stream echo") for row in result.rows] == [True] * 4 + [
        False
    ] * 3
    calls = float(result.rows[0].against.split(",")[1].split()[0])
    assert 1 <= calls <= 8


def test_a_session_whose_counters_do_not_add_up_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = session.Size(rounds=0, syncs=2, actors=5, in_flight=8)
    warm_up = session.Load.warm_up

    async def uncounted(load: session.Load) -> None:
        await warm_up(load)
        load._answered -= 1

    monkeypatch.setattr(session.Load, "warm_up", uncounted)
    with pytest.raises(AssertionError, match="calls were answered, and"):
        session.measure(size)


def test_fanout_measures_what_every_subscriber_was_told() -> None:
    audiences = (fanout.Audience(1, 1, 3), fanout.Audience(8, 4, 1))
    size = fanout.Size(rounds=1, seconds=0.05, audiences=audiences)

    result = fanout.measure(size)

    assert [float(row.ratio) > 0 for row in result.rows] == [True] * 4


def test_resume_measures_until_all_are_told() -> None:
    result = resume.measure(resume.Size(rounds=1, subscribers=6, sessions=2))

    assert float(result.rows[0].ratio) >= 1


def test_a_listener_notices_what_is_missing_and_what_comes_twice() -> None:
    board = listeners.Board()
    listener = listeners.Listener(board)

    for number in (7, 8, 10, 10, 11):
        listener.told(number)

    assert (listener.last, board.wrong) == (11, 2)


def test_a_mark_is_reached_when_the_last_listener_comes_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    board = listeners.Board()
    board.listeners = [first, second] = [listeners.Listener(board) for _ in range(2)]

    board.put(2)
    board.put(3)
    first.told(3)
    second.told(2)
    assert capsys.readouterr().out == "2 0\n"
    second.told(3)

    assert capsys.readouterr().out == "3 0\n"


def test_memory_measures_what_a_server_grows_by() -> None:
    size = memory.Size(actors=100, warm_calls=10, settle_s=0.0)

    assert memory.measure(size).rows[0].value.endswith("bytes")


def test_timers_are_set_and_fire_once() -> None:
    result = timers.measure(timers.Size(rounds=1, seconds=0.05, actors=3, alarms=4, each=3))

    assert [float(row.ratio) >= 0 for row in result.rows] == [True] * 4
    assert result.rows[2].name == "delay of 12 timers due in one second, p50"


def test_a_timer_that_fired_without_effect_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = timers._sum

    def one_less(connection: Connection, action: str, actors: int, prefix: str) -> int:
        return counted(connection, action, actors, prefix) - (action == "value")

    monkeypatch.setattr(timers, "_sum", one_less)
    with pytest.raises(AssertionError, match="12 timers were due, and 11 took effect"):
        timers.measure(timers.Size(rounds=1, seconds=0.05, actors=3, alarms=4, each=3))


def test_pending_measures_starts_and_memory() -> None:
    result = pending.measure(pending.Size(rounds=1, actors=4, each=10, settle_s=0.0))

    assert [row.name for row in result.rows] == [
        "memory with 40 pending timers",
        "start with 40 pending timers",
    ]
    assert all(0.2 < float(row.ratio) < 5 for row in result.rows)


def test_the_table_is_put_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    result = Result("python -m bench.x", 3, [Row("a", "1", "b: 2", "0.5", "≥ 0.4", True)])

    table.write(table.render("make bench", [result], datetime(2026, 1, 2, tzinfo=UTC)), page)

    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "| a | 1 | b: 2 | 0.5 | ≥ 0.4 | yes |" in text
    assert "old" not in text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")

    with pytest.raises(ValueError, match="has no place"):
        table.write("text", page)


def test_the_budget_counts_the_steps_of_every_part_of_both_paths() -> None:
    size = budget.Size(timed=200, counted=64, actors=8)

    budgets = budget.measure(size)

    assert set(budgets) == {"session", "unary"}
    for each in budgets.values():
        assert each.steps["the turn: its actor, its place, its effects"] > 100
        assert each.steps["the key: its claim, its stored reply"] > 100
        assert each.microseconds.total() > 0
    rows = budget.render(budgets, size, datetime(2026, 1, 2, tzinfo=UTC)).splitlines()
    assert f"{budgets['session'].steps.total():,}" in rows[-1]
