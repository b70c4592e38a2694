"""mypy sees a handle's actions without `c`, knows their results and refuses wrong calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SDK = HERE.parents[1] / "python_sdk"
EMPTY = "[mypy]\nstrict = True\ncheck_untyped_defs = True\n"


def check(name: str, tmp_path: Path) -> list[str]:
    config = tmp_path / "mypy.ini"
    config.write_text(EMPTY)
    options = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    options += ["--follow-imports=silent", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(HERE / name)],
        env={**os.environ, "MYPYPATH": f"{SDK}{os.pathsep}{HERE}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.timeout(300)
def test_right_calls_and_their_types(tmp_path: Path) -> None:
    output = check("ok_actor.py", tmp_path)
    assert not [line for line in output if " error: " in line]
    found = [match[1] for line in output if (match := re.search(r'type is "(.*)"', line))]
    plain = [kind.replace("builtins.", "") for kind in found]
    wanted = re.findall(r"reveal_type\(.*  # (.*)", (HERE / "ok_actor.py").read_text())
    assert plain == wanted


@pytest.mark.timeout(300)
def test_wrong_calls(tmp_path: Path) -> None:
    output = check("bad_actor.py", tmp_path)
    lines = (HERE / "bad_actor.py").read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = {int(m[1]) for line in output if (m := re.search(r":(\d+): error: ", line))}
    assert found == wanted, output
