"""RivetKit's clients, as npm has them, do against the gateway what their users do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi_server import served
from tests.gateway.clients import BUILT, SCRIPTS, TAGGED, VERSIONS, need_clients
from tests.gateway.conftest import Start
from tests.gateway.scene_actors import registry
from tests.gateway.vectors import ENCODINGS

# Their connections do not outlive an address that refuses them, be it for a moment.
GIVES_UP = TAGGED


async def begin(
    version: str, encoding: str, endpoint: int | str, *names: str
) -> asyncio.subprocess.Process:
    """The scenarios of one client, all or some of them, at a port or a URL."""
    need_clients()
    if isinstance(endpoint, int):
        endpoint = f"http://127.0.0.1:{endpoint}"
    return await asyncio.create_subprocess_exec(
        str(BUILT / "node"),
        str(SCRIPTS / "scenarios.mjs"),
        str(BUILT / version),
        encoding,
        endpoint,
        *names,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def told(said: bytes) -> list[dict[str, Any]]:
    """What a script told of scenarios, among what the client had to say."""
    return [json.loads(line) for line in said.decode().splitlines() if line.startswith("{")]


async def all_pass(script: asyncio.subprocess.Process) -> None:
    """The script runs every scenario, and none fails."""
    said, complained = await script.communicate()
    scenarios = told(said)
    assert script.returncode == 0, complained.decode()[-4000:]
    assert [each for each in scenarios if not each["ok"]] == []
    assert len(scenarios) > 25


@pytest.mark.timeout(120)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_scenarios(start: Start, version: str, encoding: str) -> None:
    server = await start(registry)
    await all_pass(await begin(version, encoding, server.http_port))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("version", "encoding"),
    [
        pytest.param("2.0.33", "json", marks=pytest.mark.slow),
        ("2.3.11", "bare"),
        pytest.param("2.3.19", "cbor", marks=pytest.mark.slow),
    ],
)
async def test_scenarios_inside_an_application(tmp_path: Path, version: str, encoding: str) -> None:
    need_clients()
    mounted = registry.asgi(data=str(tmp_path), grpc="off", admin="off")
    app = Starlette(routes=[Mount("/mine/actors", mounted)], lifespan=mounted.lifespan)
    async with served(app) as session:
        endpoint = f"{str(session._base_url).rstrip('/')}/mine/actors"
        await all_pass(await begin(version, encoding, endpoint))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_clients_go_on_after_a_restart(start: Start, version: str, encoding: str) -> None:
    names = ["callsAcrossARestart"] + ([] if version in GIVES_UP else ["reconnection"])
    server = await start(registry, on_disk=True)
    port = server.http_port
    script = await begin(version, encoding, port, *names)
    assert script.stdout is not None
    assert script.stdin is not None
    scenarios = []
    async for line in script.stdout:
        for each in told(line):
            if "wanted" in each:
                await server.stop()
                server = await start(registry, on_disk=True, http=f"127.0.0.1:{port}")
                script.stdin.write(b"done\n")
            else:
                scenarios.append(each)
    assert [each for each in scenarios if not each["ok"]] == []
    assert [each["scenario"] for each in scenarios] == names
    assert await script.wait() == 0
