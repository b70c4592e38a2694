"""Takes the pictures of docs/images anew, each by the scenario `picture` of an example:

    python -m tests.browser.pictures              # all of them
    python -m tests.browser.pictures chat_react

`make setup-browser` first. Look at what has become of them before you commit them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.browser.chromium import ROOT, Chromium
from tests.browser.example import Example

IMAGES: Final = ROOT / "docs" / "images"
EXAMPLES: Final = ("chat_react", "collaborative_editor")


def take(chromium: Chromium, name: str, images: Path = IMAGES) -> Path:
    """The picture of an example, in a folder."""
    path = images / f"{name}.png"
    with tempfile.TemporaryDirectory() as data, Example(name, Path(data)) as example:
        given = {"url": example.url, "path": str(path)}
        chromium.run(f"{name}.mjs", "picture", given, kill=example.kill, start=example.start)
    return path


def main(names: Sequence[str]) -> None:
    """Take some pictures, or all."""
    with Chromium() as chromium:
        for name in names or EXAMPLES:
            take(chromium, name)


if __name__ == "__main__":
    main(sys.argv[1:])
