"""Runs a Dockerfile without Docker: its instructions as a script in a directory.

Only what our Dockerfile uses is known: an absolute path of the image is mapped
below the directory, wherever it stands in a value or a command. Anything else
is an error, so that the Dockerfile cannot say more than is tried.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The absolute paths of the image; the environment's python stands in for the base's.
PATHS = ("/opt/holdfast", "/src", "/app", "/data")


@dataclass
class Stage:
    """One stage: its instructions in order, and the settings that they make."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def of(self, kind: str) -> list[str]:
        """The arguments of the instructions of one kind."""
        return [rest for instruction, rest in self.instructions if instruction == kind]

    def one(self, kind: str) -> str:
        """The arguments of the only instruction of a kind."""
        (rest,) = self.of(kind)
        return rest

    @property
    def settings(self) -> dict[str, str]:
        """What ENV sets."""
        pairs = (pair for rest in self.of("ENV") for pair in rest.split())
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile."""
    stages: list[Stage] = []
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for statement in re.split(r"(?<!\\)\n", "\n".join(lines)):
        kind, _, rest = statement.replace("\\\n", " ").strip().partition(" ")
        rest = " ".join(rest.split())
        if kind == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].instructions.append((kind, rest))
    return stages


def command(rest: str) -> list[str]:
    """The words of an instruction in its JSON form, which needs no shell in the image."""
    words: list[str] = json.loads(rest[rest.index("[") :])
    return words


class Runner:
    """The image's file system below a directory."""

    def __init__(self, context: Path, root: Path, environ: Mapping[str, str]) -> None:
        self.context = context
        self.root = root
        self._environ = environ

    def path(self, image_path: str) -> Path:
        """Where a path of the image is."""
        return self.root / image_path.lstrip("/")

    def map(self, text: str) -> str:
        """The text with the image's paths mapped."""
        pattern = "|".join(re.escape(path) for path in PATHS)
        return re.sub(rf"(?<![\w.])({pattern})(?=$|[/:\s\"])", rf"{self.root}\1", text)

    def environment(self, stage: Stage) -> dict[str, str]:
        """The environment of the commands of a stage."""
        settings = {name: self.map(value) for name, value in stage.settings.items()}
        path = settings.pop("PATH", "$PATH").replace("$PATH", self._environ["PATH"])
        return {**self._environ, **settings, "PATH": path}

    def build(self, stage: Stage, skip: Sequence[str]) -> None:
        """Run the instructions of a stage, but for the RUNs that begin with one of `skip`."""
        directory = self.root
        for kind, rest in stage.instructions:
            if kind == "WORKDIR":
                directory = self.path(rest)
                directory.mkdir(parents=True, exist_ok=True)
            elif kind == "COPY":
                *sources, target = rest.split()
                self._copy(sources, directory / target)
            elif kind == "RUN":
                if not rest.startswith(tuple(skip)):
                    self._run(rest, directory, stage)
            elif kind != "ENV":
                raise AssertionError(f"{kind} is not known here")

    def _copy(self, sources: Sequence[str], target: Path) -> None:
        for source in sources:
            found = self.context / source
            if found.is_dir():
                shutil.copytree(found, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.mkdir(exist_ok=True)
                shutil.copy(found, target)

    def _run(self, line: str, directory: Path, stage: Stage) -> None:
        done = subprocess.run(
            ["sh", "-ec", self.map(line)],
            cwd=directory,
            env=self.environment(stage),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
