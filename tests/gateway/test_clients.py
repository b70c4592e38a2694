"""RivetKit's clients, as npm has them, do against the gateway what their users do."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.clients import BUILT, SCRIPTS, VERSIONS, need_clients
from tests.gateway.conftest import Start
from tests.gateway.scene_actors import registry
from tests.gateway.vectors import ENCODINGS


@pytest.mark.timeout(120)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_scenarios(start: Start, version: str, encoding: str) -> None:
    need_clients()
    server = await start(registry)
    script = await asyncio.create_subprocess_exec(
        str(BUILT / "node"),
        str(SCRIPTS / "scenarios.mjs"),
        str(BUILT / version),
        encoding,
        f"http://127.0.0.1:{server.http_port}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await script.communicate()
    lines = [json.loads(line) for line in said.decode().splitlines() if line.startswith("{")]
    failed = [line for line in lines if not line["ok"]]
    assert script.returncode == 0, complained.decode()[-4000:]
    assert failed == []
    assert len(lines) > 25
