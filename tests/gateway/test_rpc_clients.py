"""Clients of the Connect protocol that others have written: those for JavaScript, `buf curl`,
and `curl`."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path

import aiohttp
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from holdfast_server.app import Server
from tests.asgi_server import served
from tests.gateway.clients import BUILT, SCRIPTS, need_clients
from tests.gateway.conftest import Start
from tests.gateway.rpc_actors import registry
from tests.gateway.rpcs import ACTORS
from tests.server.stage import Stage
from tests.server_process import BIN, ROOT

FILES = (
    "holdfast/v1/actor_service.proto",
    "holdfast/v1/event_service.proto",
    "holdfast/v1/session_service.proto",
    "google/rpc/error_details.proto",
)
CALL = {
    "target": {"getOrCreate": {"name": "desk", "key": ["a"]}},
    "action": "add",
    "args": {"encoding": "PAYLOAD_ENCODING_JSON", "data": base64.b64encode(b"[2]").decode()},
}


def name_fields(message: descriptor_pb2.DescriptorProto) -> None:
    """Name fields as JSON has them, which descriptors in Python leave out."""
    for field in message.field:
        first, *others = field.name.split("_")
        field.json_name = first + "".join(word.capitalize() for word in others)
    for nested in message.nested_type:
        name_fields(nested)


def write_descriptors(path: Path) -> None:
    """The descriptors of FILES, and of what they import, as a file."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            add(needed)
        if file.name not in found:
            found[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
            for message in found[file.name].message_type:
                name_fields(message)

    for name in FILES:
        add(descriptor_pool.Default().FindFileByName(name))
    files = descriptor_pb2.FileDescriptorSet(file=found.values())
    path.write_bytes(files.SerializeToString())


async def run(*command: str) -> tuple[int, str, str]:
    """A program's exit status, and what it printed; beside the server, on its loop."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), complaint.decode()


async def run_node(transport: str, encoding: str, endpoint: str, directory: Path) -> None:
    """Run all scenarios with one transport of the client for JavaScript."""
    need_clients()
    descriptors = directory / "descriptors"
    write_descriptors(descriptors)
    script = str(SCRIPTS / "rpcs.mjs")
    status, output, complaint = await run(
        *(str(BUILT / "node"), script, str(BUILT / "connect")),
        *(transport, encoding, endpoint, str(descriptors)),
    )
    assert status == 0, complaint
    results = [json.loads(line) for line in output.splitlines()]
    assert len(results) == 11
    assert [each["error"] for each in results if each["error"]] == []


@pytest.mark.parametrize("encoding", ["json", "proto"])
@pytest.mark.parametrize("transport", ["node", "web"])
async def test_the_clients_for_node_and_for_pages(
    start: Start, transport: str, encoding: str, tmp_path: Path, stage: Stage
) -> None:
    server = await start(registry)

    await run_node(transport, encoding, f"http://127.0.0.1:{server.http_port}", tmp_path)


async def test_the_client_for_node_calls_a_gateway_inside_an_application(
    tmp_path: Path, stage: Stage
) -> None:
    mounted = registry.asgi(data=str(tmp_path / "data"), grpc="off", admin="off")
    async with served(mounted) as session:
        async with session.get("/health") as response:
            endpoint = str(response.url.origin())
        await run_node("node", "proto", endpoint, tmp_path)


async def buf(server: Server, path: str, request: object) -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{server.http_port}{path}"
    return await run(
        *(str(BIN / "buf"), "curl", "--protocol", "connect", "--schema", "proto"),
        *("-d", json.dumps(request), url),
    )


async def test_buf_curl(start: Start, stage: Stage) -> None:
    server = await start(registry)

    status, output, complaint = await buf(server, f"{ACTORS}/InvokeAction", CALL)
    assert (status, complaint) == (0, "")
    assert base64.b64decode(json.loads(output)["result"]["data"]) == b"2"

    request = {**CALL, "action": "count"}
    status, output, complaint = await buf(server, f"{ACTORS}/StreamAction", request)
    assert (status, complaint) == (0, "")
    items = output.replace("}\n{", "},{")
    assert len(json.loads(f"[{items}]")) == 2

    status, _, complaint = await buf(server, f"{ACTORS}/InvokeAction", {**CALL, "action": "no"})
    assert status != 0
    assert json.loads(complaint)["code"] == "not_found"
    assert "ACTION_NOT_FOUND" in complaint


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl(start: Start) -> None:
    server = await start(registry)
    url = f"http://127.0.0.1:{server.http_port}{ACTORS}/InvokeAction"

    status, output, _ = await run(
        "curl", "-sS", "--json", json.dumps(CALL), "-H", "connect-timeout-ms: 5000", url
    )

    assert status == 0
    assert base64.b64decode(json.loads(output)["result"]["data"]) == b"2"


async def test_a_page_with_fetch_needs_no_library(
    start: Start, session: aiohttp.ClientSession
) -> None:
    """What `fetch` sends: an origin, and JSON."""
    server = await start(registry, cors_origins="https://app.example")
    url = f"http://127.0.0.1:{server.http_port}{ACTORS}/InvokeAction"

    async with session.post(url, json=CALL, headers={"origin": "https://app.example"}) as response:
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert base64.b64decode((await response.json())["result"]["data"]) == b"2"
