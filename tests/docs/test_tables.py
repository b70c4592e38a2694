"""The tables of the documentation say what the code and the protos say."""

from __future__ import annotations

import re
from dataclasses import Field, fields

import pytest

from holdfast_server.core.errors import CATALOGUE, Reason
from holdfast_server.core.limits import Limits
from tests.docs.blocks import tables
from tests.server_process import ROOT

LIMITS = ("limit", "default", "what it bounds", "at the limit")
UNITS = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
ERRORS = ("error", "reason", "gRPC status", "retried", "what it says")


def proto_table() -> list[tuple[str, ...]]:
    """The table in the comment of PayloadEncoding: header and rows, cells told by column."""
    text = (ROOT / "proto/holdfast/v1/payload.proto").read_text(encoding="utf-8")
    found = re.search(r"//   (value +json.*?)\n//\n", text, re.DOTALL)
    assert found is not None
    lines = [line.removeprefix("//   ") for line in found[1].split("\n")]
    starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
    rows: list[list[str]] = []
    for line in lines:
        cells = [
            line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)
        ]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [
                f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)
            ]
    return [tuple(row) for row in rows]


def test_the_table_of_encodings_is_that_of_the_proto() -> None:
    header, *rows = proto_table()

    assert tables("docs/payloads.md")[header] == rows


def error_row(reason: Reason) -> tuple[str, ...]:
    """A reason's row in the catalogue of docs/errors.md."""
    retried = "no" if reason.retry_after_s is None else f"after {reason.retry_after_s:g} s"
    return (
        f"`{reason.group}.{reason.code}`",
        f"`{reason.reason}`",
        f"`{reason.status}`",
        retried,
        reason.message.replace("|", "\\|"),
    )


def test_the_catalogue_of_errors_is_that_of_the_server() -> None:
    assert tables("docs/errors.md")[ERRORS] == [error_row(each) for each in CATALOGUE.values()]


def default_of(entry: Field[int | float]) -> str:
    """A limit's default as people read it."""
    value = entry.default
    assert isinstance(value, int | float)
    if entry.name.endswith("_s"):
        return f"{value:,g} s" if value < 3600 else f"{value / 3600:g} h"
    if "_bytes" in entry.name and value >= 1024:
        shift, unit = next(each for each in UNITS if not int(value) % (1 << each[0]))
        return f"{int(value) >> shift:,} {unit}"
    return f"{value:,}"


def test_every_limit_is_in_the_page_with_its_default() -> None:
    rows = tables("docs/limits.md")[LIMITS]

    assert [(name, default) for name, default, _, _ in rows] == [
        (f"`{entry.name}`", default_of(entry)) for entry in fields(Limits)
    ]


def test_what_the_readme_says_of_limits_is_in_the_page() -> None:
    assert set(tables("README.md")[LIMITS]) <= set(tables("docs/limits.md")[LIMITS])


@pytest.mark.parametrize("page", ["README.md", "docs/limits.md"])
def test_what_happens_at_a_limit_is_in_the_catalogue(page: str) -> None:
    known = {f"{reason.group}.{reason.code}" for reason in CATALOGUE.values()}
    named = {code for row in tables(page)[LIMITS] for code in re.findall(r"`(\w+\.\w+)`", row[-1])}

    assert named
    assert named <= known
