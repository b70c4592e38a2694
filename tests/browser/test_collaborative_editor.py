"""The editor of examples/collaborative_editor in a browser, with two people in it."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import pytest

from examples.collaborative_editor.app import UPDATE_BYTES_MAX, url_of
from examples.collaborative_editor.client import LINE, main
from tests.browser.chromium import Chromium
from tests.browser.example import Example

SCRIPT = "collaborative_editor.mjs"


@pytest.fixture(scope="module")
def editor(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """Each test has a document of its own."""
    with Example("collaborative_editor", tmp_path_factory.mktemp("data")) as editor:
        yield editor


def text_of(editor: Example, key: str) -> str:
    """The text as anybody may fetch it."""
    url = url_of(f"127.0.0.1:{editor.port}", key).replace("/request/", "/request/text")
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize("scenario", ["together", "offline", "acrossAKill"])
def test_everybody_has_what_is_stored(chromium: Chromium, editor: Example, scenario: str) -> None:
    given = {"url": editor.url, "key": scenario}

    text = chromium.run(SCRIPT, scenario, given, kill=editor.kill, start=editor.start)

    assert text
    assert text == text_of(editor, scenario)


def test_a_program_types_beside_a_window(chromium: Chromium, editor: Example) -> None:
    def type() -> None:
        asyncio.run(main("program", editor.grpc, f"http://127.0.0.1:{editor.port}"))

    given = {"url": editor.url, "key": "program", "line": LINE}

    text = chromium.run(SCRIPT, "program", given, type=type)

    assert text == f"Typed by hand.\n{LINE}" == text_of(editor, "program")


def test_what_is_refused_is_told(chromium: Chromium, editor: Example) -> None:
    given = {"url": editor.url, "key": "refused", "size": UPDATE_BYTES_MAX}

    assert "too much at once" in chromium.run(SCRIPT, "refused", given)

    assert text_of(editor, "refused") == ""
