"""Everything that a page points to is there: files, headings, tests, settings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.server_process import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]
)
GUARANTEES = "docs/guarantees.md"
PARITY = "tests/PARITY.md"
THREATS = "docs/threat-model.md"
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_TEST = re.compile(
    r"`(?P<path>tests/[\w/]+\.py)::(?P<name>\w+)`"
    r"|\[(?P<linked_name>test_\w+)\]\((?P<linked_path>tests/[\w/]+\.py)\)"
)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as repositories make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _LINK.finditer(text):
        file, _, anchor = found["target"].partition("#")
        if file.startswith("https://"):
            continue
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {found['target']}"
        if anchor:
            assert anchor in anchors(path), f"{page}: {found['target']}"


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = {found["target"] for found in _LINK.finditer(index)}

    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


@pytest.mark.parametrize("page", [GUARANTEES, PARITY, THREATS, "README.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = [
        (found["path"] or found["linked_path"], found["name"] or found["linked_name"])
        for found in _TEST.finditer(text)
    ]
    assert len(named) == text.count(".py)") + text.count("::") > 0
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in functions, f"{path}::{name}"


def test_every_case_of_the_parity_table_is_proven_or_says_why_not() -> None:
    rows = [
        line.strip("| ").split(" | ")
        for line in (ROOT / PARITY).read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| case")
    ]

    assert len(rows) >= 100
    for row in rows:
        verdict = re.split(r"[:,]", row[-1])[0].strip()
        assert verdict in {"same", "better", "different", "not planned"}, row
        if verdict in {"same", "better", "different"}:
            assert _TEST.search(" ".join(row)), row
        if verdict in {"better", "different", "not planned"}:
            # Why so is said behind it.
            assert row[-1] != verdict, row


def test_every_threat_names_its_measure_and_a_test() -> None:
    lines = (ROOT / THREATS).read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]

    assert len(rows) >= 20
    for row in rows:
        assert len(row) == 3, row
        assert row[1], row
        assert _TEST.fullmatch(row[2]), row


def test_every_promise_names_a_test() -> None:
    _, *promises = re.split(r"^## ", (ROOT / GUARANTEES).read_text(encoding="utf-8"), flags=re.M)

    assert len(promises) >= 8
    for promise in promises:
        assert re.search(r"^\*\*.*\*\*", promise, re.MULTILINE | re.DOTALL), promise
        assert _TEST.search(promise), promise
