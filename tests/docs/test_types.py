"""The documentation's Python passes the strict type checker, as a reader's editor sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.test_links import PAGES
from tests.server_process import ROOT

HEADER = "import holdfast\n\n\nasync def calls(client: holdfast.Client, ADDRESS: str) -> None:\n"


def write(page: str, directory: Path) -> Path | None:
    """A page as a program: its files as they are named, or else all its blocks as one."""
    found = blocks(page)
    plain = [each for each in found if each.info == "python"]
    if not plain:
        return None
    directory.mkdir()
    if plain[0].first_line == "# app.py":
        for each in plain:
            name = each.first_line.removeprefix("# ")
            (directory / name).write_text(each.text, encoding="utf-8")
        return directory / "client.py"
    program = "\n\n".join(each.text for each in plain)
    calls = [each.text for each in found if each.info == "python client"]
    if calls:
        program += f"\n\n{HEADER}" + textwrap.indent("\n".join(calls), "    ")
    file = directory / "page.py"
    file.write_text(program, encoding="utf-8")
    return file


def check(file: Path, cache: Path) -> list[str]:
    """What mypy says of one program."""
    options = ["--strict", "--no-error-summary", "--cache-dir", str(cache)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)],
        cwd=file.parent,
        env={**os.environ, "MYPYPATH": str(ROOT / "python_sdk")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.timeout(300)
def test_the_pages_are_typed(tmp_path: Path) -> None:
    files = [write(page, tmp_path / page.replace("/", "_")) for page in PAGES]
    programs = [file for file in files if file is not None]
    assert len(programs) >= 5

    assert [line for file in programs for line in check(file, tmp_path / "cache")] == []
