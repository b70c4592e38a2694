"""The chat of examples/chat_react in a browser, with two people in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.browser.example import Example

SCRIPT = "chat_react.mjs"


@pytest.fixture
def chat(tmp_path: Path, chromium: Chromium) -> Iterator[Example]:
    with Example("chat_react", tmp_path / "data") as chat:
        yield chat


@pytest.mark.parametrize("scenario", ["twoPeople", "acrossAKill", "refusals", "earlier"])
def test_scenario(chromium: Chromium, chat: Example, scenario: str) -> None:
    chromium.run(SCRIPT, scenario, {"url": chat.url}, kill=chat.kill, start=chat.start)
