"""The benchmarks run, at a size at which their numbers say nothing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import memory, table, unary, wake
from bench.table import Result, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_unary_measures_every_server_and_counts_every_call() -> None:
    size = unary.Size(rounds=1, seconds=0.05, single_calls=3, syncs=2, actors=5)

    result = unary.measure(size)

    assert len(result.rows) == 5
    assert all(float(row.ratio) > 0 for row in result.rows[:4])


def test_wake_measures_actors_that_slept() -> None:
    result = wake.measure(wake.Size(rounds=1, actors=4))

    assert [float(row.ratio) > 0 for row in result.rows] == [True, True]


def test_memory_measures_what_a_server_grows_by() -> None:
    size = memory.Size(actors=100, warm_calls=10, settle_s=0.0)

    assert memory.measure(size).rows[0].value.endswith("bytes")


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
