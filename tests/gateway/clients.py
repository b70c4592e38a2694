"""The clients that tools/setup_gateway.sh has installed, and Node to run them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BUILT: Final = ROOT / "build" / "gateway"
SCRIPTS: Final = ROOT / "tests" / "gateway" / "node"
VERSIONS: Final = ("2.0.33", "2.1.3", "2.2.1", "2.3.11", "2.3.19")
TAGGED: Final = ("2.3.11", "2.3.19")
"""Those that tag values inside CBOR."""

# Below the time limit of a test, so that a script that hangs is told from one that fails.
_SCRIPT_S: Final = 50


def need_clients() -> None:
    """Skips a test where the clients are missing, or fails it if CI=true."""
    missing = BUILT / "missing"
    if (BUILT / "node").exists() and not missing.exists():
        return
    why = missing.read_text().strip() if missing.exists() else "run `make setup-gateway`"
    if os.environ.get("CI") == "true":
        pytest.fail(f"no clients: {why}")
    pytest.skip(f"no clients: {why}")


def run_script(script: str, version: str, *arguments: str, given: Any = None) -> Any:
    """The JSON in the last line of what a script prints for one version of the client."""
    command = [str(BUILT / "node"), str(SCRIPTS / script), str(BUILT / version), *arguments]
    done = subprocess.run(
        command,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=_SCRIPT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.rstrip("\n").rsplit("\n", 1)[-1])
