"""Every block of the README is run: in Python, in a shell, in Node and in Go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, block, blocks
from tests.docs.folder import SERVE, Folder, folder, result_of
from tests.server_process import ROOT

PAGE = "README.md"
NODE_MODULES = ROOT / "tests/conformance/node/node_modules"
GO_MODULE = ROOT / "tests/conformance/go"
GO_CODE = ROOT / "build/conformance/go/gen"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A folder with the README's files, and its server running."""
    with folder(tmp_path_factory.mktemp("reader")) as opened:
        for name in ("app", "client"):
            opened.write(block(PAGE, f"# {name}.py"))
        opened.server.start()
        yield opened


def only(info: str, begins: str = "") -> Block:
    (found,) = [b for b in blocks(PAGE) if b.info == info and b.text.startswith(begins)]
    return found


def missing(tool: str, prepared: Path) -> str | None:
    """Why a block of another language is not run; never in CI, where the tool is there."""
    if shutil.which(tool) is None:
        return f"{tool} is not installed"
    if prepared.exists():
        return None
    reason = f"{prepared} is missing: `make setup-conformance` makes it"
    assert os.environ.get("CI") != "true", reason
    return reason


def test_there_is_no_block_that_is_not_run() -> None:
    run = [
        ("python", "# app.py"),
        ("python", "# client.py"),
        ("sh", "make run "),
        ("sh", "python3 -m venv .venv"),
        ("sh", "python client.py"),
        ("text", "2"),
        ("sh", "curl -d"),
        ("sh", "buf curl"),
        ("sh", "curl --json"),
        ("js", "const grpc"),
        ("go", "package main"),
        ("text", "  Python, Go"),
    ]
    found = [(each.info, each.first_line) for each in blocks(PAGE)]

    assert len(found) == len(run)
    for (info, line), (wanted_info, wanted_line) in zip(found, run, strict=True):
        assert info == wanted_info
        assert line.startswith(wanted_line)


def test_the_actor_has_few_lines() -> None:
    code = [line for line in block(PAGE, "# app.py").text.splitlines()[1:] if line.strip()]
    assert len(code) <= 15


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [line.split()[:2] for line in only("sh", "make run").text.splitlines()]

    assert commands == [["make", "run"], ["make", "test"]]
    for _, target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_client_and_the_shell_print_what_it_says(reader: Folder) -> None:
    assert only("sh", "python3 -m venv").text.splitlines()[-1].startswith(SERVE)

    assert reader.shell(only("sh", "python client.py").text) == only("text", "2").text

    reader.server.kill()
    reader.server.start()
    assert reader.shell('holdfast call counter \'["org-acme","visits"]\' increment 1') == "6\n"


def increments(reader: Folder) -> int:
    """The counter of the README, one up."""
    return int(reader.shell('holdfast call counter \'["org-acme","visits"]\' increment 1'))


def test_buf_curl_calls_it_and_a_retry_takes_effect_once(reader: Folder) -> None:
    before = increments(reader)
    command = only("sh", "buf curl").text

    first, again = json.loads(reader.shell(command)), json.loads(reader.shell(command))

    assert result_of(json.dumps(first)) == result_of(json.dumps(again)) == before + 2
    assert (first.get("replayed"), again.get("replayed")) == (None, True)


def test_node_calls_it(reader: Folder) -> None:
    reason = missing("node", NODE_MODULES)
    if reason is not None:
        pytest.skip(reason)
    before = increments(reader)
    script = reader.path / "client.js"
    script.write_text(reader.addressed(only("js").text), encoding="utf-8")
    proto = reader.path / "proto"
    proto.unlink(missing_ok=True)
    proto.symlink_to(ROOT / "proto")

    assert reader.run("node", script.name, NODE_PATH=str(NODE_MODULES)) == f"{before + 2}\n"


def test_curl_calls_it(reader: Folder) -> None:
    before = increments(reader)
    command = only("sh", "curl -d").text.replace("curl ", "curl -s ", 1)

    assert json.loads(reader.shell(command)) == {"output": before + 1}


def test_curl_calls_it_over_the_connect_protocol(reader: Folder) -> None:
    before = increments(reader)
    command = only("sh", "curl --json").text.replace("curl ", "curl -s ", 1)

    assert result_of(reader.shell(command)) == before + 2


def test_go_calls_it(reader: Folder, tmp_path: Path) -> None:
    reason = missing("go", GO_CODE)
    if reason is not None:
        pytest.skip(reason)
    before = increments(reader)
    source, program = tmp_path / "main.go", tmp_path / "program"
    source.write_text(only("go").text, encoding="utf-8")
    # In the module of the conformance client, which requires what the block imports.
    overlay = tmp_path / "overlay.json"
    there = GO_MODULE / "readme" / "main.go"
    overlay.write_text(json.dumps({"Replace": {str(there): str(source)}}), encoding="utf-8")
    subprocess.run(
        ["go", "build", "-overlay", str(overlay), "-o", str(program), "./readme"],
        cwd=GO_MODULE,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"},
        check=True,
    )

    assert reader.run(str(program), reader.server.address) == f"{before + 2}\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_installs_into_a_fresh_environment(tmp_path: Path) -> None:
    lines = only("sh", "python3 -m venv").text.replace("/path/to/holdfast", str(ROOT)).splitlines()
    script = "\n".join(line for line in lines if not line.startswith("holdfast-server"))

    with folder(tmp_path) as fresh:
        fresh.shell(script + "\nholdfast --help\nholdfast-server --help")

        assert (tmp_path / ".venv/bin/holdfast").exists()
