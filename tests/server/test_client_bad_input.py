"""Bad and unusual input as a client sees it: which error, naming what; and what is no error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import ActorError, Client, EncodeError
from tests.server.actors import Counter
from tests.server.client_actors import Gate, Witness, gates, registry
from tests.server.conftest import Start


async def failure(call: Any) -> ActorError:
    with pytest.raises(ActorError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    "key",
    [
        [],
        [""],
        ["", ""],
        ["a/b"],
        ["a", "b"],
        ["a\x00b"],
        ["é", "日本語", "🗝️"],
        [" "],
        ["."],
        ["x" * 128] * 8,
        [str(n) for n in range(32)],
    ],
)
async def test_any_text_within_the_limits_is_a_key(client: Client, key: list[str]) -> None:
    assert await client.get_or_create(Counter, key).increment(1) == 1
    assert [list(info.key) async for info in client.list(Counter)] == [key]


async def test_keys_are_compared_exactly(client: Client) -> None:
    # "é" twice: in one character, and in a letter with its accent.
    keys = [[], [""], ["a", "b"], ["a/b"], ["a,b"], ["A", "B"], ["\u00e9"], ["e\u0301"]]
    results = [await client.get_or_create(Counter, key).increment(1) for key in keys]
    assert results == [1] * len(keys)


@pytest.mark.parametrize(
    ("key", "limit"),
    [(["x" * 129], "128"), (["é" * 65], "128"), (["x"] * 33, "32"), (["x" * 128] * 9, "1024")],
)
async def test_a_key_beyond_its_limits_names_the_limit(
    client: Client, key: list[str], limit: str
) -> None:
    for call in (client.get_or_create(Counter, key).increment(1), client.create(Counter, key)):
        error = await failure(call)
        assert (error.reason, error.metadata["limit"]) == ("REQUEST_INVALID", limit)  # type: ignore[index]


@pytest.mark.parametrize(
    ("args", "named", "argument"),
    [
        (["x"], {}, "by"),
        ([1.5], {}, "by"),
        ([None], {}, "by"),
        ([], {"by": "x"}, "by"),
        ([], {"to": 1}, "to"),
        ([1], {"by": 1}, "by"),
    ],
)
async def test_a_wrong_argument_is_named(
    client: Client, args: list[Any], named: dict[str, Any], argument: str
) -> None:
    counter: Any = client.get_or_create("counter", ["a"])
    for encoding in ("json", "msgpack", "cbor"):
        error = await failure(counter.with_options(encoding=encoding).increment(*args, **named))
        assert error.reason == "ACTION_INVALID_ARGUMENT"
        assert error.metadata == {"argument": argument}
        assert argument in error.message
    assert await counter.increment(1) == 1


async def test_too_many_arguments_and_unknown_names(client: Client) -> None:
    untyped: Any = client.get_or_create("counter", ["a"])
    assert "too many arguments" in (await failure(untyped.increment(1, 2))).message
    assert (await failure(untyped.absent())).reason == "ACTION_NOT_FOUND"
    assert (await failure(untyped.stream(1))).reason == "ACTION_WRONG_KIND"
    with pytest.raises(ActorError) as caught:
        [_ async for _ in untyped.action_stream("increment")]
    assert caught.value.reason == "ACTION_WRONG_KIND"
    nobody: Any = client.get_or_create("nobody", ["a"])
    assert (await failure(nobody.increment())).reason == "ACTOR_NAME_NOT_FOUND"
    async with Client(client.address, namespace="elsewhere") as other:
        foreign: Any = other.get_or_create("counter", ["a"])
        assert (await failure(foreign.increment())).reason == "NAMESPACE_NOT_FOUND"


async def test_what_cannot_be_encoded_never_leaves(client: Client) -> None:
    counter: Any = client.get_or_create("counter", ["a"])
    for value, path in ((object(), "$[0]"), ({"a": [1, float("nan")]}, "$[0].a[1]")):
        with pytest.raises(EncodeError) as caught:
            await counter.increment(value)
        assert caught.value.path == path
    with pytest.raises(EncodeError):
        client.get_or_create("counter", ["a"], input={"x": object()})


async def test_sizes_beyond_their_limits(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])
    for size in ((1 << 20) + 1, 6 << 20, 17 << 20):
        error = await failure(counter.put("k", "x" * size))
        assert (error.reason, error.retryable) == ("MESSAGE_INCOMING_TOO_LONG", False)
    keyed = counter.with_options(idempotency_key="k" * 256)
    assert (await failure(keyed.increment(1))).reason == "REQUEST_INVALID"
    assert await counter.increment(1) == 1


async def test_one_key_in_flight_twice_runs_once(start: Start) -> None:
    gate = gates["a"] = Gate()
    _, client = await start(registry)
    witness = client.get_or_create(Witness, ["a"]).with_options(idempotency_key="k")
    first = asyncio.create_task(witness.hold("x"))
    await gate.entered.wait()
    second = asyncio.create_task(witness.hold("x"))
    other = await failure(witness.hold("y"))
    gate.open.set()

    assert (await first, await second) == (1, 1)
    assert other.code == "key_reused"
    assert await witness.hold("x") == 1


async def test_a_reader_that_vanishes_leaves_the_actor_free(start: Start) -> None:
    gate = gates["a"] = Gate()
    server, client = await start(registry)
    async with Client(f"127.0.0.1:{server.port}") as other:
        items: Any = other.get_or_create(Witness, ["a"]).follow(7)
        assert await anext(items) == 7
    await gate.cancelled.wait()
    assert await client.get_or_create(Witness, ["a"]).write("x") == 1
    await items.aclose()
