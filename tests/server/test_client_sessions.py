"""A client's calls over a session against a real server: results are those of RPCs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from holdfast import ActorError, Client, EncodeError, setup
from holdfast_server.app import Server
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.store.memory import MemoryStore
from tests.server.client_actors import Gate, Witness, gates
from tests.server.conftest import Start
from tests.server.live_actors import Ledger
from tests.server.probe import sessions_of, until
from tests.server.restartable import server_process
from tests.server.sessionless import SESSIONS, sessionless

LEDGERS = "tests.server.live_actors:registry"
registry = setup(use={"ledger": Ledger, "witness": Witness})
KINDS = ("session", "unary")


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call gives, or what its error says."""
    try:
        return await call
    except ActorError as error:
        return (
            error.group,
            error.code,
            error.reason,
            error.status,
            error.metadata,
            error.retryable,
            error.retry_after_s,
            error.message,
        )
    except EncodeError as error:
        return (error.path, error.message)


async def listed(items: Any) -> Any:
    """What a stream gives before it fails, and how it fails."""
    found: list[Any] = []

    async def read() -> None:
        async for item in items:
            found.append(item)

    return [found, await outcome(read())]


def ledger(client: Client, **options: Any) -> Any:
    """The ledger that a case is about."""
    handle: Any = client.get_or_create("ledger", ["a"])
    return handle.with_options(**options) if options else handle


Case = Callable[[Client], Awaitable[Any]]
ODD = {"text": "é", "big": 2**60, "list": [1.5, None, True], "bytes": b"\x00\xff", "": {}}
CASES: dict[str, Case] = {
    "a value": lambda client: ledger(client).echo(ODD),
    "a value of json": lambda client: ledger(client, encoding="json").echo([1, "é", None]),
    "a value of cbor": lambda client: ledger(client, encoding="cbor").echo(ODD),
    "nothing": lambda client: ledger(client).echo(None),
    "named arguments": lambda client: ledger(client).echo(times=3, value="ab"),
    "a typed value": lambda client: client.get_or_create(Ledger, ["a"]).write("x"),
    "a user error": lambda client: ledger(client).fail("user"),
    "another error": lambda client: ledger(client).fail("bug"),
    "no such action": lambda client: ledger(client).absent(),
    "no such class": lambda client: client.get("nobody", ["a"]).action("x"),
    "no such actor": lambda client: client.get("ledger", ["absent"]).action("entries"),
    "no such id": lambda client: client.get_for_id("ledger", "f" * 32).action("entries"),
    "not an id": lambda client: client.get_for_id("ledger", "xyz").action("entries"),
    "a key that is too long": lambda client: client.get("ledger", ["x" * 129]).action("x"),
    "a wrong argument": lambda client: ledger(client).write(["x"]),
    "too many arguments": lambda client: ledger(client).write("x", "y"),
    "what cannot be encoded": lambda client: ledger(client).write(object()),
    "a stream as a call": lambda client: ledger(client).action("steps", 2),
    "a deadline": lambda client: Waiting().deadline(client),
    "a cancelled call": lambda client: Waiting().cancelled(client),
    "a stream": lambda client: listed(ledger(client).action_stream("steps", 300)),
    "a stream that fails": lambda client: listed(ledger(client).action_stream("steps", 2, "user")),
    "a stream with a bug": lambda client: listed(ledger(client).action_stream("steps", 2, "bug")),
    "a call as a stream": lambda client: listed(ledger(client).action_stream("entries")),
    "no such stream": lambda client: listed(ledger(client).action_stream("absent")),
    "a stream left early": lambda client: Waiting().left(client),
    "a stream past its deadline": lambda client: Waiting().late_stream(client),
    "a key used twice": lambda client: key_used_twice(client),
    "a key used for a failure": lambda client: key_of_a_failure(client),
    "a key of two calls at once": lambda client: Waiting().joined(client),
    "a full mailbox": lambda client: Waiting().full(client),
    "sizes up to the limit": lambda client: sizes(client, 100, 60_000, 70_000, 1_000_000),
    "what an answer cannot hold": lambda client: ledger(client).echo("x" * 1000, 7000),
}


class Waiting:
    """Cases about a call that waits at a gate."""

    server: Server

    def __init__(self) -> None:
        self.gate = gates["a"] = Gate()

    def witness(self, client: Client, **options: Any) -> Any:
        handle: Any = client.get_or_create("witness", ["a"])
        return handle.with_options(**options) if options else handle

    async def deadline(self, client: Client) -> Any:
        found = await outcome(self.witness(client, timeout=0.2).hold("never"))
        await self.gate.cancelled.wait()
        return [found, await self.witness(client).read()]

    async def cancelled(self, client: Client) -> Any:
        task = asyncio.create_task(self.witness(client).hold("never"))
        await self.gate.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.gate.cancelled.wait()
        return await self.witness(client).read()

    async def left(self, client: Client) -> Any:
        items = self.witness(client).action_stream("follow", 7)
        first = await anext(items)
        await items.aclose()
        await self.gate.cancelled.wait()
        return [first, await self.witness(client).write("after")]

    async def late_stream(self, client: Client) -> Any:
        found = await listed(self.witness(client, timeout=0.2).action_stream("follow", 7))
        await self.gate.cancelled.wait()
        return found

    async def joined(self, client: Client) -> Any:
        keyed = self.witness(client, idempotency_key="k")
        first = asyncio.create_task(keyed.hold("x"))
        await self.gate.entered.wait()
        second = asyncio.create_task(keyed.hold("x"))
        other = await outcome(keyed.hold("y"))
        self.gate.open.set()
        return [await first, await second, other, await keyed.hold("x")]

    async def full(self, client: Client) -> Any:
        first = asyncio.create_task(self.witness(client).hold("x"))
        await self.gate.entered.wait()
        second = asyncio.create_task(self.witness(client).write("y"))
        scope = scope_of(Address(client.namespace, "witness", ("a",)))
        found = self.server.node.catalog.find_scope(scope)
        assert found is not None
        await until(lambda: found.mailbox.waiting)
        # Tried again until its deadline, since a full mailbox passes.
        third = await outcome(self.witness(client, timeout=0.3).write("z"))
        self.gate.open.set()
        # In between two tries, or in the middle of one.
        assert third[3] in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
        return [await first, await second]


async def key_used_twice(client: Client) -> Any:
    keyed = ledger(client, idempotency_key="order-1")
    return [
        await keyed.write("x"),
        await keyed.write("x"),
        await outcome(keyed.write("y")),
        await outcome(keyed.echo("x")),
        await listed(keyed.action_stream("steps", 1)),
        await ledger(client).entries(),
    ]


async def key_of_a_failure(client: Client) -> Any:
    keyed = ledger(client, idempotency_key="order-2")
    return [
        await outcome(keyed.fail("user")),
        await outcome(keyed.fail("user")),
        await outcome(keyed.fail("bug")),
        await ledger(client).entries(),
    ]


async def sizes(client: Client, *counts: int) -> Any:
    return [await ledger(client).echo("x" * count) for count in counts]


@pytest.fixture
async def server(start: Start) -> Server:
    found, _ = await start(registry, store=MemoryStore(), namespaces=",".join(KINDS))
    Waiting.server = found
    return found


def client_of(server: Server, kind: str) -> Client:
    address = f"127.0.0.1:{server.port}"
    return Client(address, namespace=kind, session=kind == "session")


@pytest.mark.parametrize("case", CASES)
async def test_a_call_gives_the_same_over_a_session_as_in_an_rpc(server: Server, case: str) -> None:
    results = {}
    for kind in KINDS:
        async with client_of(server, kind) as client:
            await ledger(client).entries()
            assert len(sessions_of(server)) == (1 if kind == "session" else 0)
            results[kind] = await outcome(CASES[case](client))

    assert results["session"] == results["unary"]
    assert results["session"] == EXPECTED.get(case, results["session"])


EXPECTED: dict[str, Any] = {
    "a value": ODD,
    "a typed value": 1,
    "a user error": (
        *("user", "refused", "USER_ERROR", "UNKNOWN"),
        *({"deep": [1, {"é": None}]}, False, None, "no"),
    ),
    "a cancelled call": [],
    "a stream": [list(range(1, 301)), None],
    "a stream left early": [7, 1],
    "sizes up to the limit": ["x" * count for count in (100, 60_000, 70_000, 1_000_000)],
}


@pytest.mark.parametrize("size", [(1 << 20) + 1, 6 << 20, 17 << 20])
async def test_what_is_too_large_is_refused_alike(server: Server, size: int) -> None:
    found = []
    for kind in KINDS:
        async with client_of(server, kind) as client:
            await ledger(client).entries()
            said = await outcome(ledger(client).write("x" * size))
            # The text says which message was too long, and that is another one.
            found.append((*said[:4], *said[5:7]))
            assert await ledger(client).write("y") == 1
    assert found[0] == found[1]
    assert found[0][2] == "MESSAGE_INCOMING_TOO_LONG"


async def test_many_calls_share_one_stream(server: Server) -> None:
    async with client_of(server, "session") as client:
        handles: list[Any] = [client.get_or_create("ledger", [str(n)]) for n in range(40)]
        results = await asyncio.gather(*(h.write("x") for h in handles for _ in range(50)))
        assert len(sessions_of(server)) == 1
    for n in range(len(handles)):
        assert sorted(results[50 * n : 50 * n + 50]) == list(range(1, 51))


async def test_one_slow_call_or_large_answer_holds_up_no_other(server: Server) -> None:
    gate = gates["a"] = Gate()
    async with client_of(server, "session") as client:
        witness: Any = client.get_or_create("witness", ["a"])
        held = asyncio.create_task(witness.hold("slow"))
        await gate.entered.wait()
        large = asyncio.create_task(ledger(client).echo("x" * 1_000_000))
        # Nobody reads its items.
        unread = client.get_or_create("ledger", ["b"]).action_stream("steps", 10**6)
        await anext(unread)
        assert await client.get_or_create(Ledger, ["c"]).write("quick") == 1
        assert len(await large) == 1_000_000
        assert not held.done()
        gate.open.set()
        assert await held == 1
        await unread.aclose()


# Where there are no sessions


async def test_a_server_without_sessions_is_called_by_rpcs_with_the_same_results(
    server: Server,
) -> None:
    async with (
        sessionless(f"127.0.0.1:{server.port}") as (address, methods),
        Client(address, namespace="session") as client,
        client_of(server, "unary") as unary,
    ):
        for case in ("a value", "a user error", "another error", "a stream", "a key used twice"):
            there = await outcome(CASES[case](client))
            assert there == await outcome(CASES[case](unary))
        gathered = await asyncio.gather(*(ledger(client).write(str(n)) for n in range(20)))
        assert len(set(gathered)) == 20
    # It was asked once.
    assert len([method for method in methods if method.startswith(SESSIONS)]) == 1
    assert len(methods) > 20


# Under fire


async def test_every_call_that_was_answered_took_effect_once_across_kills(tmp_path: Path) -> None:
    random = Random(1)
    answered: dict[str, set[str]] = {str(n): set() for n in range(4)}
    sent: dict[str, set[str]] = {str(n): set() for n in range(4)}
    failures: set[str] = set()
    async with (
        server_process(LEDGERS, tmp_path / "data") as server,
        Client(server.address) as client,
    ):
        over = False

        async def write(worker: int) -> None:
            number = 0
            while not over:
                number += 1
                key, entry = random.choice(sorted(sent)), f"{worker}.{number}"
                sent[key].add(entry)
                # Some are given up while the server is away.
                timeout = random.choice([0.2, 60.0])
                handle = client.get_or_create(Ledger, [key]).with_options(timeout=timeout)
                try:
                    await handle.write(entry)
                except ActorError as error:
                    failures.add(error.status)
                else:
                    answered[key].add(entry)

        workers = [asyncio.create_task(write(n)) for n in range(16)]
        for _ in range(2):
            before = sum(map(len, answered.values()))
            while sum(map(len, answered.values())) < before + 100:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await server.kill()
            await server.start()
        before = sum(map(len, answered.values()))
        while sum(map(len, answered.values())) < before + 100:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        over = True
        await asyncio.gather(*workers)
        for key, entries in sent.items():
            found = await client.get_or_create(Ledger, [key]).entries()
            assert len(found) == len(set(found))
            assert answered[key] <= set(found) <= entries
    assert failures
    assert failures <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
