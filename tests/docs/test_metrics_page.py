"""docs/metrics.md is what the table of metrics says."""

from __future__ import annotations

from tools.gen_metrics import PAGE, render


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make gen`"
