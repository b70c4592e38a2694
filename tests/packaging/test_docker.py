"""The Dockerfile: its shape, and its steps run as a script, up to a healthy server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.packaging.conftest import Uv
from tests.packaging.dockerfile import Runner, Stage, command, parse
from tests.server_process import ROOT, environment, free_address
from tools.run import wait_until_serving

BUILD, FINAL = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
APP = """
from holdfast import Actor, Context, action, setup

class Counter(Actor[int]):
    state = 0

    @action
    async def increment(self, c: Context[int], by: int = 1) -> int:
        c.state += by
        return c.state

registry = setup(use={"counter": Counter})
"""


@pytest.fixture(scope="module")
def image(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The image's files, made by the steps of the build stage."""
    environ = environment()
    environ["PATH"] = f"{Path(uv.path).parent}{os.pathsep}{environ['PATH']}"
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV"):
        environ.pop(name, None)
    runner = Runner(ROOT, tmp_path_factory.mktemp("image"), environ)
    # The uv that is on the path is the one that this repository uses.
    runner.build(BUILD, skip=["pip install --no-cache-dir uv=="])
    for directory in ("/data", "/app"):
        runner.path(directory).mkdir()
    runner.path("/app/app.py").write_text(APP)
    return runner


class Container:
    """What `docker run` would start."""

    def __init__(self, image: Runner, stage: Stage) -> None:
        self.address = free_address()
        self.cwd = image.path(stage.one("WORKDIR"))
        addresses = {
            "HOLDFAST_GRPC": self.address,
            "HOLDFAST_HTTP": free_address(),
            "HOLDFAST_METRICS": free_address(),
        }
        self.environ = {**image.environment(stage), **addresses}
        self.process = subprocess.Popen(
            [*command(stage.one("ENTRYPOINT")), *command(stage.one("CMD"))],
            cwd=self.cwd,
            env=self.environ,
        )

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """What `docker exec` would run."""
        return subprocess.run(
            words,
            cwd=self.cwd,
            env={**self.environ, "HOLDFAST_SERVER": self.address},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def container(image: Runner) -> Iterator[Container]:
    started = Container(image, FINAL)
    try:
        wait_until_serving(started.process, started.address)
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait()


def health() -> list[str]:
    return command(FINAL.one("HEALTHCHECK"))


def test_the_image_is_small_and_runs_as_nobody_special() -> None:
    assert BUILD.base == FINAL.base == "python:3.11-slim"
    user, _, group = FINAL.one("USER").partition(":")
    assert int(user) == int(group) > 0
    assert FINAL.one("VOLUME") == FINAL.settings["HOLDFAST_DATA"] == "/data"
    fronts = ("GRPC", "HTTP", "METRICS")
    ports = [FINAL.settings[f"HOLDFAST_{name}"].rpartition(":")[2] for name in fronts]
    assert FINAL.one("EXPOSE").split() == ports
    assert FINAL.one("STOPSIGNAL") == "SIGTERM"
    assert [copy.split()[0] for copy in FINAL.of("COPY")] == [f"--from={BUILD.name}"]
    installs = [run for stage in (BUILD, FINAL) for run in stage.of("RUN") if "apt" in run]
    assert installs == []


def test_what_is_copied_is_in_the_context_and_nothing_else_is() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")[1:]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for rest in BUILD.of("COPY") for source in rest.split()[:-1]}

    assert copied == allowed
    assert any(fnmatch("a/__pycache__", rule) for rule in rules)


def test_the_steps_make_a_server_that_serves_and_drains(
    image: Runner, container: Container
) -> None:
    increment = ["holdfast", "--json", "call", "counter", "visits", "increment", "2"]

    assert container.run(increment).stdout == "2\n"

    container.process.terminate()
    assert container.process.wait() == 0
    assert [path.name for path in image.path("/app").iterdir()] == ["app.py"]
    assert list(image.path("/data").iterdir()) != []


def test_the_image_has_the_locked_versions_and_no_development_tools(image: Runner) -> None:
    listed = image.path("/opt/holdfast").glob("lib/*/site-packages/*.dist-info")
    names = {path.name.partition("-")[0] for path in listed}

    assert {"holdfast", "grpcio", "rocksdict", "typer"} <= names
    assert names.isdisjoint({"pytest", "mypy", "grpcio_tools", "ruff"})


def test_the_health_check_tells_a_server_from_none(container: Container) -> None:
    if " health " not in container.run(["holdfast", "--help"]).stdout:
        pytest.skip("the command line has no `health`")
    assert container.run(health()).returncode == 0

    container.process.terminate()
    container.process.wait()

    assert container.run(health()).returncode == 3
