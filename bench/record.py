"""The results as JSON, in build/bench: one file a command, with the machine and the revision."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.servers import ROOT
from bench.table import Result, machine

DIRECTORY: Final = ROOT / "build" / "bench"


def revision(of: Path = ROOT) -> str:
    """The commit that is checked out, with "+" if files differ from it; empty without Git."""
    try:
        asked = ("git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
        return subprocess.run(
            asked, cwd=of, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def results(given: list[Result]) -> list[dict[str, Any]]:
    """Results of benchmarks, each with its rows."""
    return [asdict(each) for each in given]


def write(name: str, command: str, parts: Mapping[str, Any], directory: Path = DIRECTORY) -> Path:
    """Write `name`.json; its path."""
    told = {
        "command": command,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        **parts,
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
