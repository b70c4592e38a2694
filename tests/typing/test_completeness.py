"""Every symbol of the SDK's public surface has a type that every checker knows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.typing.checkers import SDK

# Generated code, and the program that nobody imports.
NOT_PUBLIC = ("holdfast.v1.", "holdfast.cli.")


@pytest.mark.timeout(300)
def test_the_public_types_are_complete(tmp_path: Path) -> None:
    # pyright looks for the package as it is installed, not through an editable install.
    shutil.copytree(SDK / "holdfast", tmp_path / "holdfast")
    options = ["--ignoreexternal", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", "holdfast", *options],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]

    ours = [s for s in symbols if not s["name"].startswith(NOT_PUBLIC)]
    assert {"holdfast.Actor", "holdfast.Client", "holdfast.blocking.Client"} <= {
        s["name"] for s in ours
    }
    assert [
        (s["name"], [found["message"] for found in s["diagnostics"]])
        for s in ours
        if not s["isTypeKnown"] or s["isTypeAmbiguous"]
    ] == []
