"""on_before_action_response: what leaves in place of a result, and what its failures change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.outcomes import refused


class Wrapped(Actor[list[str]]):
    state = list

    async def on_before_action_response(
        self, c: Context[list[str]], name: str, args: tuple[Any, ...], output: Any
    ) -> Any:
        if args and args[0] == "user":
            raise UserError("no", code="refused")
        if args and args[0] == "bug":
            raise KeyError("secret")
        if args and args[0] == "exit":
            raise SystemExit(1)
        if args and args[0] == "cancelled":
            raise asyncio.CancelledError
        if args and args[0] == "slow":
            await asyncio.Event().wait()
        if args and args[0] == "unencodable":
            return {"part": object()}
        return {"action": name, "args": list(args), "output": output, "seen": list(c.state)}

    @action
    async def later(self, c: Context[list[str]], line: str) -> int:
        c.state.append(line)
        return len(c.state)

    @action
    def now(self, c: Context[list[str]], line: str) -> int:
        c.state.append(line)
        return len(c.state)

    @action(thread=True)
    def apart(self, c: Context[list[str]], line: str) -> int:
        c.state.append(line)
        return len(c.state)

    @action(read_only=True)
    def lines(self, c: Context[list[str]]) -> list[str]:
        return c.state


registry = setup(use={"wrapped": Wrapped})


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


@pytest.mark.parametrize("name", ["later", "now", "apart"])
async def test_the_result_that_leaves_is_the_hooks(client: Client, name: str) -> None:
    wrapped = client.get_or_create("wrapped", ["a"])

    answer = await wrapped.action(name, "x")

    assert answer == {"action": name, "args": ["x"], "output": 1, "seen": ["x"]}
    assert (await wrapped.lines())["output"] == ["x"]


@pytest.mark.parametrize("way", ["user", "bug", "exit", "cancelled"])
@pytest.mark.parametrize("name", ["later", "now", "apart"])
async def test_a_hook_that_raises_leaves_the_result_as_it_was(
    client: Client, name: str, way: str
) -> None:
    wrapped = client.get_or_create("wrapped", ["a"])

    assert await wrapped.action(name, way) == 1

    assert (await wrapped.lines())["output"] == [way]


@pytest.mark.parametrize("name", ["later", "now", "apart"])
async def test_a_hook_is_bound_by_the_deadline_of_its_call(client: Client, name: str) -> None:
    wrapped = client.get_or_create("wrapped", ["a"])

    error = await refused(wrapped.with_options(timeout=0.1).action(name, "slow"))

    assert (error.group, error.code) == ("action", "timed_out")
    assert (await wrapped.lines())["output"] == []


async def test_a_result_of_the_hook_that_cannot_be_encoded_is_named(client: Client) -> None:
    wrapped = client.get_or_create("wrapped", ["a"])

    error = await refused(wrapped.now("unencodable"))

    assert (error.group, error.code) == ("value", "not_encodable")
    assert error.metadata is not None
    assert "part" in error.metadata["path"]
    assert (await wrapped.lines())["output"] == []
