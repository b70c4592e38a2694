"""The command line against the server that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc
from typer.testing import CliRunner

from holdfast.cli.commands import app
from tests.unit.sdk.fake_server import Failure, running_in_thread


async def _in_thread(function: Callable[[], None]) -> None:
    await asyncio.to_thread(function)


async def test_command_line() -> None:
    def body() -> None:
        with running_in_thread() as (server, address):

            def run(*arguments: str) -> Any:
                return CliRunner().invoke(app, ["--server", address, "--json", *arguments])

            done = run("call", "geometry", '["a","b"]', "add", "1", '"x"')
            assert (done.exit_code, json.loads(done.stdout)) == (0, [[1, "x"], {}])
            assert list(server.requests[0].target.get_or_create.key) == ["a", "b"]
            assert run("call", "geometry", "a", "count", "2").stdout == "0\n1\n"
            assert json.loads(run("actors", "get", "geometry", "a").stdout)["key"] == ["a"]
            listed = run("actors", "list", "geometry", "--limit", "3").stdout.splitlines()
            assert [json.loads(line)["actor_id"] for line in listed] == ["A1", "A2", "A3"]
            assert json.loads(run("actors", "destroy", "geometry", "a").stdout) == {
                "actor_id": "A1"
            }
            entry = run("kv", "get", "geometry", "a", "last")
            assert json.loads(entry.stdout) == {"key": "last", "value": "hi"}
            assert run("kv", "get", "geometry", "a", "absent").exit_code == 1
            assert json.loads(run("kv", "list", "geometry", "a").stdout) == {
                "key_base64": "Yv8=",
                "value_base64": "AA==",
            }

    await _in_thread(body)


async def test_exit_codes() -> None:
    def body() -> None:
        with running_in_thread() as (server, address):

            def run(*arguments: str) -> Any:
                return CliRunner().invoke(app, ["--server", address, *arguments])

            metadata = {"group": "user", "code": "no", "metadata_json": "{}"}
            server.failures = [Failure(grpc.StatusCode.UNKNOWN, "USER_ERROR", metadata)]
            failed = run("--json", "call", "geometry", "a", "add")
            assert failed.exit_code == 1
            assert json.loads(failed.stderr)["error"]["code"] == "no"
            assert run("call", "geometry", "a", "add", "not json").exit_code == 2
            assert run("call", "geometry", "[1]", "add").exit_code == 2
            assert run("unknown").exit_code == 2
        assert run("--timeout", "0.2", "call", "geometry", "a", "add").exit_code == 3

    await _in_thread(body)
