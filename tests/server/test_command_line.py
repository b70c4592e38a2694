"""The command line against a real server: every command, its errors and its exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from holdfast.cli.commands import app
from holdfast.errors import ActorError
from tests.server.actors import Counter
from tests.server.client_actors import Gate, gates, registry
from tests.server.conftest import Start
from tests.server.event_actors import registry as event_registry


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


Run = Callable[..., Awaitable[Outcome]]


def invoke(*arguments: str, stdin: str | None = None, **environ: str) -> Outcome:
    done = CliRunner().invoke(app, list(arguments), input=stdin, env=environ)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Outcome(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
async def run(start: Start) -> Run:
    server, _ = await start()
    before = ["--server", f"127.0.0.1:{server.port}"]

    async def body(*arguments: str, stdin: str | None = None, **environ: str) -> Outcome:
        return await asyncio.to_thread(invoke, *before, *arguments, stdin=stdin, **environ)

    return body


async def test_calls(run: Run) -> None:
    assert (await run("call", "counter", "a", "increment")).out == "1\n"
    assert (await run("call", "counter", "a", "increment", "-3")).out == "-2\n"
    assert (await run("call", "counter", "a", "increment", "--named", '{"by": 4}')).out == "2\n"
    assert (await run("call", "counter", '["a"]', "value")).out == "2\n"
    assert (await run("call", "counter", '["a", "b"]', "value")).out == "0\n"
    assert (await run("call", "counter", "a", "put", '"é"', '"x y"')).out == '"x y"\n'
    assert (await run("call", "counter", "a", "stream", "3")).out == "3\n4\n5\n"


async def test_values_from_standard_input(run: Run) -> None:
    large = json.dumps("x" * 200_000)
    done = await run("call", "counter", "a", "put", '"k"', "-", stdin=json.dumps("y" * 100_000))
    assert done.json == "y" * 100_000
    assert (await run("call", "counter", "a", "increment", "--named", "-", stdin='{"by": 7}')).json
    twice = await run("call", "counter", "a", "put", "-", "-", stdin=large)
    assert twice.code == 2
    assert "can be read once only" in twice.err
    bad = await run("call", "counter", "a", "increment", "-", stdin="{")
    assert bad.code == 2
    assert "not JSON: {" in bad.err


async def test_a_key_of_idempotency_makes_a_call_count_once(run: Run) -> None:
    keyed = ("call", "counter", "a", "increment", "2", "--idempotency-key", "k")
    assert [(await run(*keyed)).json for _ in range(2)] == [2, 2]
    other = await run("--json", "call", "counter", "a", "increment", "--idempotency-key", "k")
    assert (other.code, other.error["code"]) == (1, "key_reused")
    empty = await run("call", "counter", "a", "increment", "--idempotency-key", "")
    assert (empty.code, "at least one character" in empty.err) == (2, True)


async def test_only_existing_actors_and_input(run: Run) -> None:
    missing = await run("--json", "call", "counter", "a", "value", "--existing")
    assert (missing.code, missing.error["reason"]) == (1, "ACTOR_NOT_FOUND")
    assert (await run("call", "counter", "a", "value", "--input", '{"n": 1}')).json == 0
    assert (await run("call", "counter", "a", "value", "--existing")).json == 0
    both = await run("call", "counter", "a", "value", "--existing", "--input", "1")
    assert (both.code, "not --existing" in both.err) == (2, True)


async def test_actors(run: Run) -> None:
    for key in ('["org", "b"]', '["org", "a"]', "other"):
        await run("call", "counter", key, "increment")
    listed = await run("--json", "actors", "list", "counter")
    assert [row["key"] for row in listed.lines] == [["org", "a"], ["org", "b"], ["other"]]
    some = await run("actors", "list", "counter", "--prefix", "org", "--limit", "1")
    assert some.out.splitlines() == [f'{listed.lines[0]["actor_id"]}  ["org", "a"]']
    shown = (await run("actors", "get", "counter", '["org", "a"]')).json
    assert shown == listed.lines[0]
    assert shown["created_at"].endswith("+00:00")
    gone = await run("actors", "destroy", "counter", '["org", "a"]')
    assert gone.json == {"actor_id": shown["actor_id"]}
    again = await run("actors", "destroy", "counter", '["org", "a"]')
    assert (again.code, again.err) == (1, "error: actor.not_found: no actor has this key or id\n")


async def test_kv(run: Run) -> None:
    for key, value in (("x/1", "one"), ("x/2", "two"), ("y", "three")):
        await run("call", "counter", "a", "put", json.dumps(key), json.dumps(value))
    assert (await run("kv", "get", "counter", "a", "y")).json == {"key": "y", "value": "three"}
    listed = await run("kv", "list", "counter", "a", "--prefix", "x/")
    assert [row["key"] for row in listed.lines] == ["x/1", "x/2"]
    assert len((await run("kv", "list", "counter", "a", "--limit", "2")).lines) == 2
    absent = await run("--json", "kv", "get", "counter", "a", "z")
    assert (absent.code, absent.error["code"]) == (1, "entry_not_found")


async def test_describe(run: Run) -> None:
    text = (await run("describe")).out
    assert text.startswith("counter  Counts.\n")
    assert "  increment(by: integer = 1) -> integer\n" in text
    assert "  value() -> integer  [read-only]\n" in text
    assert "  stream(count: integer) -> integer  [streaming]\n" in text
    (counter,) = (await run("--json", "describe", "counter")).lines
    increment = next(a for a in counter["actions"] if a["name"] == "increment")
    assert increment["arguments_schema"]["properties"]["by"] == {"type": "integer", "default": 1}
    unknown = await run("--json", "describe", "nothing")
    assert (unknown.code, unknown.error["code"]) == (1, "name_not_found")


async def test_describe_shows_declared_events(start: Start) -> None:
    server, _ = await start(event_registry)
    address = f"127.0.0.1:{server.port}"
    text = (await asyncio.to_thread(invoke, "--server", address, "describe", "board")).out
    assert "  event moved(string, Move)\n  event odd()\n" in text
    assert text.endswith("  event typing(boolean)  [ephemeral]\n")


async def test_health(start: Start) -> None:
    server, _ = await start()
    address = f"127.0.0.1:{server.port}"
    serving = await asyncio.to_thread(invoke, "--server", address, "health")
    assert (serving.code, serving.json["serving"]) == (0, True)
    named = ("--json", "health", "--service", "holdfast.v1.ActorService")
    assert (await asyncio.to_thread(invoke, "--server", address, *named)).json["serving"]
    unknown = await asyncio.to_thread(invoke, "--server", address, "health", "--service", "x")
    assert unknown.code == 1
    await server.stop()
    for command in (("health",), ("call", "counter", "a", "value")):
        down = await asyncio.to_thread(
            invoke, "--server", address, "--timeout", "0.3", "--json", *command
        )
        assert (down.code, down.error["code"]) == (3, "unavailable")


async def test_errors_of_the_actor(run: Run) -> None:
    failed = await run("call", "counter", "a", "fail", '"user"')
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == "error: user.refused: no\n  n: 1\n"
    machine = (await run("--json", "call", "counter", "a", "fail", '"user"')).error
    assert machine == {
        "group": "user",
        "code": "refused",
        "message": "no",
        "metadata": {"n": 1},
        "reason": "USER_ERROR",
        "retryable": False,
    }
    bug = await run("call", "counter", "a", "fail", '"bug"')
    assert (bug.code, "internal_error" in bug.err) == (1, True)
    late = await run("--timeout", "0.3", "--json", "call", "counter", "a", "sleep", "30")
    assert (late.code, late.error["code"]) == (1, "timed_out")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["call", "counter", "[1]", "value"], '\'["org-acme","general"]\''),
        (["call", "counter", "[x", "value"], "is not a JSON list"),
        (["call", "counter", "a", "put", "hello"], "(a string is written '\"hello\"')"),
        (["call", "counter", "a", "put", "NaN"], "not JSON: NaN"),
        (["call", "counter", "a", "put", "[" * 100_000], "nested too deeply"),
        (["call", "counter", "a", "put", "--named", "[1]"], "--named is a JSON object"),
        (["call", "counter", "a", "put", "--nmaed", "{}"], "not JSON: --nmaed"),
        (["call", "counter", "a"], "Missing argument 'action'"),
        (["cal"], "No such command 'cal'"),
        (["actors", "list", "counter", "--limit", "0"], "Invalid value for '--limit'"),
        (["actors", "list", "counter", "--lmit", "1"], "No such option: --lmit"),
        (["--timeout", "0", "health"], "Invalid value for '--timeout'"),
        (["--timeout", "soon", "health"], "Invalid value for '--timeout'"),
        (["--timeout", "nan", "health"], "Invalid value for '--timeout'"),
        (["--server", "localhost", "health"], "add the port, 'localhost:6430'"),
        (["--server", "http://127.0.0.1:6430", "health"], "host and port only"),
        (["--token", "a\nb", "health"], "printable ASCII"),
    ],
)
def test_wrong_usage_names_the_remedy(arguments: list[str], remedy: str) -> None:
    done = invoke(*arguments, COLUMNS="200")
    assert done.code == 2
    # The usage text is drawn in a box, which may break a line.
    assert remedy in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err


async def test_the_environment_stands_for_options(start: Start) -> None:
    server, _ = await start(namespaces="default,blue")
    environ = {
        "HOLDFAST_SERVER": f"127.0.0.1:{server.port}",
        "HOLDFAST_NAMESPACE": "blue",
        "HOLDFAST_TOKEN": "ignored here",
        "HOLDFAST_TIMEOUT": "inf",
    }

    def body() -> None:
        assert invoke("call", "counter", "a", "increment", **environ).json == 1
        assert invoke("actors", "get", "counter", "a", **environ).json["namespace"] == "blue"
        other = invoke("--namespace", "red", "--json", "actors", "list", "counter", **environ)
        assert (other.code, other.error["group"]) == (1, "namespace")
        default = invoke("--namespace", "default", "actors", "list", "counter", **environ)
        assert (default.code, default.out) == (0, "")

    await asyncio.to_thread(body)


async def test_what_the_shell_says_is_what_the_client_sees(start: Start) -> None:
    server, client = await start(registry)
    gates["a"] = Gate()
    before = ("--server", f"127.0.0.1:{server.port}", "--json", "call", "witness", "a")
    written = await asyncio.to_thread(invoke, *before, "write", '"é\\n\\u0000"')
    assert written.json == 1
    assert await client.get("witness", "a").read() == ["é\n\x00"]
    metadata = {"text": "é", "list": [1, None]}
    refused = await asyncio.to_thread(invoke, *before, "refuse", json.dumps(metadata))
    with pytest.raises(ActorError) as caught:
        await client.get("witness", "a").refuse(metadata)
    assert refused.error["metadata"] == caught.value.metadata == metadata


async def test_the_command_line_lists_across_pages(start: Start) -> None:
    server, client = await start()
    await asyncio.gather(*(client.create(Counter, [f"{n:03}"]) for n in range(120)))
    before = ("--server", f"127.0.0.1:{server.port}", "--json", "actors", "list", "counter")
    done = await asyncio.to_thread(invoke, *before, "--limit", "110")
    assert [row["key"] for row in done.lines] == [[f"{n:03}"] for n in range(110)]
