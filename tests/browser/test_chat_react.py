"""The chat of examples/chat_react in a browser, with two people in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Chromium
from tests.browser.example import Example

SCRIPT = "chat_react.mjs"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, chromium: Chromium) -> Iterator[Example]:
    """One application; each scenario has rooms of its own, and the lounge belongs to the first."""
    with Example("chat_react", tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest.mark.parametrize("scenario", ["twoPeople", "acrossAKill", "refusals", "earlier"])
def test_scenario(chromium: Chromium, chat: Example, scenario: str) -> None:
    chromium.run(SCRIPT, scenario, {"url": chat.url}, kill=chat.kill, start=chat.start)
