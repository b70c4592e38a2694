"""examples/pages.py: a page is built once, anew when something in `web` changes, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import pages
from tests.browser.chromium import BUILT, need_browser

LOCK = {"name": "x", "lockfileVersion": 3, "packages": {"": {"name": "x"}}}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of an example whose build is a script of the shell."""
    need_browser()
    monkeypatch.setattr(pages, "EXAMPLES", tmp_path / "examples")
    monkeypatch.setattr(pages, "BUILD", tmp_path / "build")
    monkeypatch.setenv("PATH", str(BUILT), prepend=":")
    web = tmp_path / "examples" / "mine" / "web"
    (web / "src").mkdir(parents=True)
    (web / "package.json").write_text(json.dumps({"name": "x", "scripts": {"build": "sh build"}}))
    (web / "package-lock.json").write_text(json.dumps(LOCK))
    (web / "build").write_text("mkdir $2 && cp src/page $2/index.html")
    (web / "src" / "page").write_text("first")
    return web


def test_a_page_is_built_once_until_something_changes(web: Path) -> None:
    first = pages.build("mine")
    assert (first / "index.html").read_text() == "first"
    # What was made by hand in the folder is no source.
    (web / "node_modules").mkdir()
    (web / "node_modules" / "any").write_text("")
    assert pages.build("mine") == first

    (web / "src" / "page").write_text("second")

    second = pages.build("mine")
    assert second != first
    assert (second / "index.html").read_text() == "second"


def test_a_build_that_fails_says_why_and_leaves_nothing(web: Path) -> None:
    (web / "build").write_text("mkdir $2; echo it is broken >&2; exit 3")

    for _ in range(2):
        with pytest.raises(pages.CannotBuild, match="it is broken"):
            pages.build("mine")

    assert list((pages.BUILD / "mine").glob("*page*")) == []
    assert list((pages.BUILD / "mine").glob("building*")) == []


def test_without_npm_it_is_told_what_is_missing(
    web: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(pages.CannotBuild, match="npm, which is not installed"):
        pages.build("mine")
