"""The tutorial, done as it says: each command, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.folder import SERVE, Folder, folder

PAGE = "docs/getting-started.md"
INSTALL = "python3 -m venv .venv"
KILL = "kill -9 "


def steps() -> Iterator[tuple[Block, str]]:
    """Each block that does something, with the output that stands behind it."""
    found = blocks(PAGE)
    for at, block in enumerate(found):
        if block.info == "text":
            continue
        following = found[at + 1] if at + 1 < len(found) else None
        yield block, following.text if following and following.info == "text" else ""


def do(block: Block, reader: Folder) -> str:
    """Do what a block says; what it prints."""
    if block.info == "python":
        reader.write(block)
        return reader.run("python", "client.py") if block.first_line == "# client.py" else ""
    assert block.info == "sh"
    if block.first_line == SERVE:
        reader.server.start()
        return ""
    if block.first_line.startswith(KILL):
        printed = reader.shell(block.text)
        reader.server.wait_killed()
        # The page says so in a sentence.
        reader.server.start()
        return printed
    return reader.shell(block.text)


def test_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    done = [block for block, _ in steps()]
    assert [block.first_line for block in done].count(SERVE) == 1
    assert [block.first_line.startswith(KILL) for block in done].count(True) == 1

    with folder(tmp_path) as reader:
        for block, output in steps():
            if block.first_line != INSTALL:
                assert do(block, reader) == output, f"{PAGE}:{block.line}"


@pytest.mark.parametrize("line", ["pip install '/path/to/holdfast[server,cli]'\n"])
def test_it_installs_as_the_readme_does(line: str) -> None:
    (install,) = [block for block in blocks(PAGE) if block.first_line == INSTALL]

    assert install.text.endswith(line)
