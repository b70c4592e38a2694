"""mypy and pyright over this directory's programs, and what they say line by line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SDK = HERE.parents[1] / "python_sdk"
MYPY = "[mypy]\nstrict = True\ncheck_untyped_defs = True\nexplicit_package_bases = True\n"


@dataclass
class Findings:
    """What a checker said of one program."""

    errors: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    revealed: dict[int, str] = field(default_factory=dict)


Report = dict[str, Findings]
Checker = Callable[[list[str], Path], Report]


def mypy(names: list[str], directory: Path) -> Report:
    """What mypy --strict says of the programs."""
    (directory / "mypy.ini").write_text(MYPY)
    options = ["--config-file", str(directory / "mypy.ini"), "--follow-imports=silent"]
    options += ["--cache-dir", str(directory / "cache"), "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *(str(HERE / name) for name in names)],
        env={**os.environ, "MYPYPATH": f"{SDK}{os.pathsep}{HERE}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    report: Report = {name: Findings() for name in names}
    for line in done.stdout.splitlines():
        found = re.match(r"(.*?):(\d+): (error|note): (.*)", line)
        if found is None:
            continue
        findings = report[Path(found[1]).name]
        shown = re.match(r'Revealed type is "(.*)"', found[4])
        if shown is not None:
            # Names stand there with their modules.
            findings.revealed[int(found[2])] = re.sub(r"[A-Za-z_]\w*\.", "", shown[1])
        elif found[3] == "error":
            findings.errors[int(found[2])].append(found[4])
    return report


def pyright(names: list[str], directory: Path) -> Report:
    """What pyright in strict mode says of the programs."""
    config = {
        "extraPaths": [str(SDK), str(HERE)],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": False,
        # Of the programs' own making: what they leave unused, and what is `Any` on purpose.
        "reportUnusedVariable": False,
        "reportUnusedCoroutine": False,
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(config))
    options = ["--outputjson", "--pythonpath", sys.executable]
    options += ["--project", str(directory / "pyrightconfig.json")]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *options, *(str(HERE / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    report: Report = {name: Findings() for name in names}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        findings = report[Path(found["file"]).name]
        line = found["range"]["start"]["line"] + 1
        shown = re.match(r'Type of ".*" is "(.*)"', found["message"], re.DOTALL)
        if found["severity"] == "information" and shown is not None:
            findings.revealed[line] = shown[1]
        elif found["severity"] == "error":
            findings.errors[line].append(found["message"])
    return report
