"""Results and arguments that cannot travel: refused with their path or size, and undone."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, refused, wire_refusal
from tests.server.wire import target

BYTES_MAX = 1000


@dataclass
class Inner:
    part: Any


def itself() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


UNENCODABLE: dict[str, Any] = {
    "object": lambda: {"a": [1, object()]},
    "function": lambda: {"a": [1, len]},
    "generator": lambda: {"a": [1, (n for n in range(1))]},
    "dataclass": lambda: {"a": [1, Inner(object())]},
    "exception": lambda: {"a": [1, KeyError("x")]},
    "complex": lambda: {"a": [1, 1j]},
    "loop": lambda: {"a": [1, itself()]},
}


class Giver(Actor[list[str]]):
    state = list

    @action
    async def give(self, c: Context[list[str]], what: str) -> Any:
        c.state.append("spoilt")
        await c.kv.put("spoilt", "x")
        return UNENCODABLE[what]()

    @action
    def give_plain(self, c: Context[list[str]], what: str) -> Any:
        c.state.append("spoilt")
        return UNENCODABLE[what]()

    @action
    async def give_one_by_one(self, c: Context[list[str]], what: str) -> AsyncIterator[Any]:
        yield 1
        c.state.append("spoilt")
        yield UNENCODABLE[what]()

    @action
    async def large(self, c: Context[list[str]], size: int) -> str:
        c.state.append("spoilt")
        return "x" * size

    @action
    async def take(self, c: Context[list[str]], text: str) -> int:
        c.state.append("took")
        return len(text)

    @action
    async def odd(self, c: Context[list[str]]) -> list[Any]:
        c.state.append("kept")
        at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        return [2**60, b"\x00\xff", at, decimal.Decimal("1.50"), "\U0001f600", None]

    @action
    async def complain(self, c: Context[list[str]]) -> None:
        raise UserError("no file \ud800 \u00e9", code="odd\udcff", metadata={"at": 1})

    @action
    async def complain_later(self, c: Context[list[str]]) -> AsyncIterator[int]:
        yield 1
        raise UserError("no file \ud800 \u00e9", code="odd\udcff", metadata={"at": 1})

    @action(read_only=True)
    def look(self, c: Context[list[str]]) -> list[str]:
        return c.state


registry = setup(use={"giver": Giver})


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore(), payload_bytes_max=BYTES_MAX))[1]


@pytest.mark.parametrize("encoding", ["json", "msgpack", "cbor"])
@pytest.mark.parametrize("what", UNENCODABLE)
@pytest.mark.parametrize("name", ["give", "give_plain"])
async def test_a_result_that_cannot_be_encoded_is_named_and_undone(
    client: Client, name: str, what: str, encoding: str
) -> None:
    giver = client.get_or_create("giver", ["a"])

    error = await refused(giver.with_options(encoding=encoding).action(name, what))

    assert (error.group, error.code) == ("value", "not_encodable")
    assert error.metadata is not None
    assert "a[1]" in error.metadata["path"]
    assert await giver.look() == []
    assert await giver.take("x") == 1


@pytest.mark.parametrize("encoding", ["json", "msgpack", "cbor"])
async def test_an_item_that_cannot_be_encoded_ends_its_stream(
    client: Client, encoding: str
) -> None:
    giver = client.get_or_create("giver", ["a"])
    items: list[Any] = []

    async def read() -> None:
        stream = giver.with_options(encoding=encoding).action_stream("give_one_by_one", "object")
        async for item in stream:
            items.append(item)

    error = await refused(read())

    assert (error.group, error.code) == ("value", "not_encodable")
    assert items == [1]
    assert await giver.look() == []


async def test_protobuf_carries_messages_only(client: Client) -> None:
    giver = client.get_or_create("giver", ["a"])

    error = await refused(giver.with_options(encoding="protobuf").odd())

    assert (error.group, error.code) == ("encoding", "invalid")
    assert await giver.look() == []


@pytest.mark.parametrize("encoding", ["json", "msgpack", "cbor"])
async def test_unusual_results_arrive(client: Client, encoding: str) -> None:
    giver = client.get_or_create(Giver, ["a"]).with_options(encoding=encoding)

    found = await giver.odd()

    assert found[0] in (2**60, {"$bigint": str(2**60)}, str(2**60))
    assert found[4:] == ["\U0001f600", None]
    assert await giver.look() == ["kept"]


@pytest.mark.parametrize("encoding", ["json", "msgpack", "cbor"])
async def test_a_result_over_the_limit_is_undone(client: Client, encoding: str) -> None:
    giver = client.get_or_create(Giver, ["a"]).with_options(encoding=encoding)

    error = await refused(giver.large(BYTES_MAX + 1))

    assert (error.group, error.code) == ("message", "outgoing_too_long")
    # Nothing passes by itself here: it must not look as if a retry might help.
    assert error.retry_after_s is None
    assert error.metadata is not None
    assert error.metadata["limit"] == str(BYTES_MAX)
    assert int(error.metadata["size"]) > BYTES_MAX
    assert await giver.look() == []
    assert len(await giver.large(BYTES_MAX - 10)) == BYTES_MAX - 10


@pytest.mark.parametrize("encoding", ["json", "msgpack", "cbor"])
async def test_arguments_over_the_limit_do_not_reach_the_actor(
    client: Client, encoding: str
) -> None:
    giver = client.get_or_create(Giver, ["a"]).with_options(encoding=encoding)

    for call in (giver.take("x" * BYTES_MAX), giver.take(text="x" * BYTES_MAX)):
        error = await refused(call)
        assert (error.group, error.code) == ("message", "incoming_too_long")
        assert error.metadata is not None
        assert error.metadata["limit"] == str(BYTES_MAX)
        assert error.metadata["field"] in ("args", "kwargs")

    assert await code_of(client.get(Giver, ["a"]).look()) == "actor.not_found"
    assert await giver.take("x" * (BYTES_MAX - 20)) == BYTES_MAX - 20


async def test_a_request_that_no_server_would_read_is_refused_too(
    start: Start, connect: Connect
) -> None:
    """Beyond what gRPC itself takes: its own refusal, and the connection goes on."""
    server, _ = await start(registry, store=MemoryStore())
    wire = connect(server)

    refusal = await wire_refusal(wire.invoke(target("giver", "a"), "take", "x" * (20 << 20)))

    assert refusal.status == "RESOURCE_EXHAUSTED"
    await wire.invoke(target("giver", "a"), "take", "x")


@pytest.mark.parametrize("session", [True, False])
async def test_a_user_error_says_what_utf8_cannot(start: Start, *, session: bool) -> None:
    server, client = await start(registry, store=MemoryStore())
    if not session:
        await client.close()
        client = Client(f"127.0.0.1:{server.port}", session=False)
    giver = client.get_or_create("giver", ["a"])

    async def stream() -> list[Any]:
        return [item async for item in giver.action_stream("complain_later")]

    for call in (giver.action("complain"), stream()):
        error = await refused(call)
        assert (error.message, error.code) == ("no file \\ud800 \u00e9", "odd\\udcff")
        assert error.metadata == {"at": 1}
    await client.close()
