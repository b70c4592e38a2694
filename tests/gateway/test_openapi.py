"""openapi.json: it is valid, it tells of everything, and the gateway does what it says.

The last is what schemathesis finds out: it sends what the document allows, and what it does
not, and looks at every answer. It draws by the seed of the run, which pytest prints.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from holdfast.v1 import (
    actor_service_pb2,
    dead_letter_service_pb2,
    event_service_pb2,
    kv_service_pb2,
    schedule_service_pb2,
)
from holdfast_server.gateway import endpoints
from tests.gateway.browser import Browser
from tests.gateway.conftest import Start
from tests.gateway.rpc_actors import registry
from tests.seeds import SEED_VARIABLE, seed_of
from tests.server_process import BIN

TOML = Path(__file__).with_name("schemathesis.toml")
PARTS = (
    r"^/holdfast\.v1\.ActorService/",
    r"^/holdfast\.v1\.(DeadLetter|Kv)Service/|^/grpc\.",
    r"^/holdfast\.v1\.ScheduleService/",
    r"^/(?!holdfast\.|grpc\.)",
)
METHODS = [
    method
    for module in (
        actor_service_pb2,
        dead_letter_service_pb2,
        event_service_pb2,
        kv_service_pb2,
        schedule_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.fixture
async def document(browser: Browser) -> dict[str, Any]:
    answer = await browser.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


async def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document, cls=OpenAPIV31SpecValidator)


async def test_it_tells_of_every_unary_rpc_and_of_every_endpoint(document: dict[str, Any]) -> None:
    paths = document["paths"]
    for method in METHODS:
        path = f"/{method.containing_service.full_name}/{method.name}"
        assert (path in paths) is not method.server_streaming, path
        if path in paths:
            post = paths[path]["post"]
            body = post["requestBody"]["content"]["application/json"]["schema"]
            answer = post["responses"]["200"]["content"]["application/json"]["schema"]
            prefix = "#/components/schemas/"
            assert body == {"$ref": prefix + method.input_type.full_name}
            assert answer == {"$ref": prefix + method.output_type.full_name}
            # What can be got is in test_rpc_unary.py.
            reads = method.GetOptions().idempotency_level == 1
            assert ("get" in paths[path]) is reads, path
    for endpoint in endpoints.ALL:
        assert endpoint.method.lower() in paths[endpoint.path], endpoint
    assert "/holdfast.v1.SessionService/OpenSession" not in paths


async def test_a_message_is_described_as_json_has_it(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    request = schemas["holdfast.v1.InvokeActionRequest"]
    assert set(request["properties"]) == {
        "namespace", "target", "action", "args", "kwargs", "acceptEncoding", "idempotencyKey",
        "clientSequence", "params",
    }  # fmt: skip
    key = schemas["holdfast.v1.ActorKey"]["properties"]["key"]
    assert (key["type"], key["items"]) == ("array", {"type": "string"})
    payload = schemas["holdfast.v1.Payload"]["properties"]
    assert payload["data"]["contentEncoding"] == "base64"
    assert "PAYLOAD_ENCODING_JSON" in payload["encoding"]["enum"]
    assert schemas["holdfast.v1.Actor"]["properties"]["createdAt"]["format"] == "date-time"
    # What the protos say of it.
    assert key["description"].startswith("The parts of the key")
    invoke = document["paths"]["/holdfast.v1.ActorService/InvokeAction"]["post"]
    assert invoke["description"].startswith("Runs an action")
    target = schemas["holdfast.v1.ActorTarget"]
    assert "At most one of actorId and get and getOrCreate." in target["description"]


async def test_it_is_there_without_a_token_and_says_where_one_is_needed(
    start: Start, browser: Browser
) -> None:
    server = await start(token="secret")
    guarded = (await Browser(browser.session, server).get("/api/rivet/openapi.json")).json
    paths = guarded["paths"]
    invoke = paths["/holdfast.v1.ActorService/InvokeAction"]["post"]

    assert guarded["security"] == [{"bearer": []}]
    assert "security" not in invoke
    assert {"token": []} in paths["/actors"]["get"]["security"]
    for path in ("/health", "/openapi.json"):
        assert paths[path]["get"]["security"] == []
    assert paths["/grpc.health.v1.Health/Check"]["post"]["security"] == []
    assert (await browser.get("/openapi.json")).json["security"] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PATCH", "/actors", "GET, POST, PUT"), ("POST", "/health", "GET"),
     ("DELETE", "/openapi.json", "GET"), ("GET", "/gateway/x/action/y", "POST"),
     ("POST", "/actors/x", "DELETE")],
)  # fmt: skip
async def test_another_method_than_those_is_not_allowed(
    browser: Browser, method: str, path: str, allowed: str
) -> None:
    answer = await browser.ask(method, path)

    assert (answer.status, answer.error) == (405, "guard.no_route")
    assert answer.headers["allow"] == allowed


async def run_schemathesis(start: Start, seed: int, directory: Path, *options: str) -> None:
    """Call a server as its document says, and otherwise; it leaves files in a directory."""
    server = await start(registry, token="secret")
    process = await asyncio.create_subprocess_exec(
        *(str(BIN / "schemathesis"), "--config-file", str(TOML), "run", "--no-color"),
        *("--seed", str(seed), *options),
        f"http://127.0.0.1:{server.http_port}/openapi.json",
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{SEED_VARIABLE}={seed}\n{output.decode()}"
    assert b" passed" in output


async def test_the_gateway_does_what_it_says(
    start: Start, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """A part of it in each run, and all in runs with seeds that follow each other."""
    seed = seed_of(pytestconfig)
    part = PARTS[seed % len(PARTS)]
    options = ("--phases", "fuzzing", "--max-examples", "3", "--include-path-regex", part)
    await run_schemathesis(start, seed, tmp_path, *options)


async def test_every_path_is_in_one_part(document: dict[str, Any]) -> None:
    for path in document["paths"]:
        assert sum(re.search(part, path) is not None for part in PARTS) == 1, path


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_gateway_does_what_it_says_whatever_is_sent(
    start: Start, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    await run_schemathesis(start, seed_of(pytestconfig), tmp_path, "--max-examples", "30")
