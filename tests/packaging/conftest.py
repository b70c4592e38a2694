"""The distributions as a user gets them, built once, and fresh environments to put them in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server_process import ROOT

Install = Callable[[str], Path]


@dataclass(frozen=True)
class Uv:
    """The uv that runs this repository."""

    path: str

    def __call__(self, *arguments: str, cwd: Path = ROOT, **settings: str) -> None:
        """Run a uv command; its output is shown where it fails."""
        done = subprocess.run(
            [self.path, *arguments],
            cwd=cwd,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def uv() -> Uv:
    # `uv run` says where it is; `make` puts it on the path.
    found = os.environ.get("UV") or shutil.which("uv")
    assert found, "uv is not on the path: run the tests through `make test` or `uv run`"
    return Uv(found)


@pytest.fixture(scope="session")
def distributions(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source distribution."""
    out = tmp_path_factory.mktemp("distributions")
    uv("build", "--quiet", "--out-dir", str(out))
    return out


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(distributions: Path) -> Path:
    (found,) = distributions.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def install(uv: Uv, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Makes an environment with the wheel and some extras, in the locked versions."""
    locked = tmp_path_factory.mktemp("locked") / "constraints.txt"
    uv(
        *("export", "--quiet", "--frozen", "--all-extras", "--no-dev", "--no-emit-project"),
        *("--no-hashes", "--output-file", str(locked)),
    )

    def fresh(extras: str) -> Path:
        directory = tmp_path_factory.mktemp("environment") / "venv"
        uv("venv", "--quiet", str(directory))
        python = str(directory / "bin" / "python")
        uv(
            *("pip", "install", "--quiet", "--python", python),
            *("--constraints", str(locked), f"{wheel}{extras}"),
        )
        return directory

    return fresh
