"""A Chromium that runs scenarios, and the pages that it shows.

A scenario is what a module of Node in `scenarios` exports, on playwright-core. It is told
where the server is, and what it needs done to the server it asks for.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BUILT: Final = ROOT / "build" / "browser"
CLIENTS: Final = ROOT / "build" / "gateway"
HERE: Final = Path(__file__).resolve().parent
NODE: Final = HERE / "node"
PAGES: Final = HERE / "pages"


def need_browser() -> None:
    """Skips a test where there is no browser, or fails it if CI=true."""
    missing = BUILT / "missing"
    if (BUILT / "chromium").exists() and not missing.exists():
        return
    why = missing.read_text().strip() if missing.exists() else "run `make setup-browser`"
    if os.environ.get("CI") == "true":
        pytest.fail(f"no browser: {why}")
    pytest.skip(f"no browser: {why}")


class Chromium:
    """One browser for many scenarios; each has users of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(BUILT / "node"), str(NODE / "drive.mjs"), str(BUILT), str(BUILT / "chromium")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, scenario: str, given: Any = None, **outside: Callable[..., Any]
    ) -> Any:
        """What a scenario of `scenarios/SCRIPT` returns. It may ask for what `outside` does:
        functions by their names, of one argument or none, whose result is sent to it.
        """
        path = HERE / "scenarios" / script
        self._send({"script": str(path), "scenario": scenario, "given": given})
        while True:
            told = self._receive()
            if "wanted" not in told:
                break
            done = outside[told["wanted"]]
            self._send(done() if told["given"] is None else done(told["given"]))
        assert told["ok"], told["error"]
        return told["result"]

    def _send(self, line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _receive(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the driver of the browser has ended"
        told: Mapping[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def bundle(entry: Path, packages: Path, client: Path | None = None) -> Path:
    """The folder of a page: its one script with what it imports of `packages`, and with the
    RivetKit client of a folder. It is made anew when one of them has changed.
    """
    sources = [entry, NODE / "bundle.mjs", BUILT / "stamp", packages / "package-lock.json"]
    sources += [client / "package-lock.json"] if client else []
    found = hashlib.sha256(f"{packages} {client}".encode())
    for path in sources:
        found.update(path.read_bytes())
    page = BUILT / "pages" / found.hexdigest()[:16]
    if page.exists():
        return page
    page.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=page.parent) as name:
        making = Path(name) / "page"
        making.mkdir()
        command = [BUILT / "node", NODE / "bundle.mjs", BUILT, entry, making, packages]
        command += [client] if client else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if not page.exists():
            making.rename(page)
    return page
