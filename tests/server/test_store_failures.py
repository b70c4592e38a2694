"""A store that fails: callers hear that the outcome is unknown, nothing acknowledged is
lost, a retry takes effect once, and the service goes on by itself."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from holdfast_server.store import keys
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import Refusal, refusal_of, wire_refusal
from tests.server.probe import activation_of, until
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import Wire, numbered, pb, result, target

REASONS = {"COMMIT_UNKNOWN", "STORE_UNAVAILABLE"}


class Book(Actor[list[str]]):
    state = list

    async def on_wake(self, c: Context[list[str]]) -> None:
        stage.log.append(f"wake {c.key[0]}")

    @action
    async def write(self, c: Context[list[str]], line: str) -> int:
        c.state.append(line)
        await c.kv.put(line, line)
        return len(c.state)

    @action
    async def hold(self, c: Context[list[str]], point: str) -> str:
        c.state.append(point)
        await stage.pause(point)
        return point

    @action
    async def commit_and_hold(self, c: Context[list[str]], point: str) -> str:
        c.state.append(point)
        await c.commit()
        await stage.pause(point)
        return point

    @action
    async def tell(self, c: Context[list[str]], count: int) -> None:
        for number in range(count):
            c.send(Book, ["told"], "write", str(number))

    @action
    async def refuse(self, c: Context[list[str]]) -> None:
        stage.log.append("refuse")
        raise UserError("no", code="refused")

    @action(read_only=True)
    async def lines(self, c: Context[list[str]]) -> list[str]:
        return c.state

    @action(read_only=True)
    def lines_plain(self, c: Context[list[str]]) -> list[str]:
        return c.state

    @action
    async def entries(self, c: Context[list[str]]) -> list[Any]:
        return [key for key, _ in await c.kv.list()]


registry = setup(use={"book": Book})
BOOK = target("book", "a")


class HeldStore(FaultyStore):
    """Its next sync waits, once `hold` was said, until it is let go or broken."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self._reached, self._let = threading.Event(), threading.Event()
        self._let.set()
        self.before_sync = self._wait

    def hold(self) -> None:
        self._reached.clear()
        self._let.clear()

    def let_go(self) -> None:
        self._let.set()

    async def reached(self) -> None:
        await asyncio.to_thread(self._reached.wait, 20)

    def _wait(self) -> None:
        self._reached.set()
        self._let.wait(20)


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = HeldStore()
    yield store
    store.broken = False
    store.let_go()


@pytest.fixture
async def server(start: Start, store: HeldStore, stage: Stage) -> Server:
    return (await start(registry, store=store, store_reopen_s=0.01))[0]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


async def outcome(call: Awaitable[pb.InvokeActionResponse]) -> Any:
    """The result of a call, or its refusal."""
    try:
        return result(await call)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


async def answered(call: Callable[[], Awaitable[pb.InvokeActionResponse]]) -> Any:
    """The result of a call that is made again, as its refusals ask, until it has one."""
    while isinstance(found := await outcome(call()), Refusal):
        assert found.reason in REASONS, found
    return found


def unavailable(found: Any, *, keyed: bool = False) -> Refusal:
    """A refusal that says what it must: only a call that has a key, or did not run, may
    be made again without a thought."""
    assert isinstance(found, Refusal), found
    assert (found.status, found.reason in REASONS) == ("UNAVAILABLE", True), found
    assert bool(found.retry_after_s) == (keyed or found.reason == "STORE_UNAVAILABLE"), found
    return found


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_who_waits_hears_that_it_is_unknown_and_a_retry_takes_effect_once(
    store: HeldStore, wire: Wire, operation: str, applied: bool
) -> None:
    await wire.invoke(BOOK, "write", "first")
    store.fail_next(operation, applied=applied)  # type: ignore[arg-type]

    found = await outcome(wire.invoke(BOOK, "write", "x", idempotency_key="k"))

    assert unavailable(found, keyed=True).reason == "COMMIT_UNKNOWN"
    for _ in range(2):
        assert await answered(lambda: wire.invoke(BOOK, "write", "x", idempotency_key="k")) == 2
    assert await answered(lambda: wire.invoke(BOOK, "lines")) == ["first", "x"]
    assert await answered(lambda: wire.invoke(BOOK, "entries")) == ["first", "x"]


@pytest.mark.parametrize("kept", [0, 1, None])
async def test_only_what_was_acknowledged_must_be_there(
    store: HeldStore, server: Server, wire: Wire, kept: int | None
) -> None:
    """Three turns run on each other, unsynced, when the sync fails."""
    await wire.invoke(BOOK, "write", "first")
    store.unsynced_kept = kept
    store.hold()
    store.fail_next("sync")
    calls = [asyncio.create_task(outcome(wire.invoke(BOOK, "write", "0")))]
    await store.reached()
    before, readers = server.node.committer.submitted, list[asyncio.Task[Any]]()
    for number in (1, 2):
        calls.append(asyncio.create_task(outcome(wire.invoke(BOOK, "write", str(number)))))
        await until(lambda number=number: server.node.committer.submitted == before + number)
        # A reader has what was done before it written; no sync will while one is held.
        readers.append(asyncio.create_task(outcome(wire.invoke(BOOK, "entries"))))
        await until(lambda number=number: store.unsynced > number)
    async with tasks(*calls, *readers):
        store.let_go()

        found = [unavailable(each) for each in await asyncio.gather(*calls)]
        read = await asyncio.gather(*readers)

    assert {each.reason for each in found} == {"COMMIT_UNKNOWN"}
    lines = await answered(lambda: wire.invoke(BOOK, "lines"))
    assert lines == ["first", "0", "1", "2"][: len(lines)]
    # Of the last turns it depends on the moment whether they were written at all.
    assert len(lines) > 2 if kept is None else len(lines) == kept + 1
    assert await answered(lambda: wire.invoke(BOOK, "entries")) == sorted(lines)
    assert all(isinstance(each, Refusal) or each == sorted(lines) for each in read)
    assert await answered(lambda: wire.invoke(BOOK, "write", "after")) == len(lines) + 1


@pytest.mark.parametrize("kept", [0, None])
async def test_a_flood_over_many_failures_loses_and_repeats_nothing(
    store: HeldStore, client: Client, kept: int | None
) -> None:
    store.unsynced_kept = kept
    lines = [str(number) for number in range(40)]

    async def write(line: str) -> None:
        await client.get_or_create(Book, [f"b{int(line) % 3}"]).write(line)

    for first in range(0, 40, 20):
        store.fail_after(first // 10)
        await asyncio.gather(*(write(line) for line in lines[first : first + 20]))

    found = [await client.get(Book, [f"b{n}"]).lines() for n in range(3)]
    assert Tally(line for each in found for line in each) == Tally(lines)


async def test_a_store_that_does_not_come_back_refuses_all_and_then_serves(
    store: HeldStore, server: Server, wire: Wire
) -> None:
    await wire.invoke(BOOK, "write", "first")
    store.broken = True
    unavailable(
        await outcome(wire.invoke(BOOK, "write", "x", client_sequence=numbered(1))), keyed=True
    )
    await until(lambda: server.node.recovery.tries >= 3)

    refusals = [
        await wire_refusal(wire.invoke(BOOK, "write", "x", client_sequence=numbered(1))),
        await wire_refusal(wire.invoke(BOOK, "lines")),
        await wire_refusal(wire.invoke(BOOK, "lines_plain")),
        await wire_refusal(wire.invoke(target("book", "new"), "write", "x")),
        await wire_refusal(wire.kv_entries(target("book", "a", create=False))),
        await wire_refusal(wire.actors.ListActors(pb.ListActorsRequest(name="book"))),
        await wire_refusal(
            wire.actors.DestroyActor(
                pb.DestroyActorRequest(target=target("book", "a", create=False))
            )
        ),
    ]

    assert {unavailable(each).reason for each in refusals} == {"STORE_UNAVAILABLE"}
    assert len(server.node.catalog) == 0
    store.broken = False
    write = await answered(lambda: wire.invoke(BOOK, "write", "x", client_sequence=numbered(1)))
    assert write == 2
    assert await answered(lambda: wire.invoke(BOOK, "lines")) == ["first", "x"]


async def test_activations_are_dropped_and_wake_again(
    store: HeldStore, server: Server, wire: Wire, stage: Stage
) -> None:
    quiet = target("book", "quiet")
    await wire.invoke(quiet, "write", "q")
    before = activation_of(server, "book", "quiet")
    store.fail_next("write")
    unavailable(await outcome(wire.invoke(BOOK, "write", "x")))

    assert await answered(lambda: wire.invoke(quiet, "lines")) == ["q"]

    assert activation_of(server, "book", "quiet") is not before
    assert stage.log.count("wake quiet") == 2


@pytest.mark.parametrize("name", ["hold", "commit_and_hold"])
async def test_a_turn_in_progress_cannot_commit_to_the_store_that_came_after(
    store: HeldStore, server: Server, wire: Wire, stage: Stage, name: str
) -> None:
    await wire.invoke(BOOK, "write", "first")
    call = asyncio.create_task(outcome(wire.invoke(BOOK, name, "h", idempotency_key="k")))
    async with tasks(call):
        await stage.reached("h")
        store.fail_next("write")
        unavailable(await outcome(wire.invoke(target("book", "b"), "write", "x")))
        assert await answered(lambda: wire.invoke(BOOK, "write", "second")) > 1

        stage.let("h")

        unavailable(await call, keyed=True)
    again = await outcome(wire.invoke(BOOK, name, "h", idempotency_key="k"))
    lines = await answered(lambda: wire.invoke(BOOK, "lines"))
    if name == "hold":
        assert (again, lines) == ("h", ["first", "second", "h"])
    else:
        # What it committed in its middle is there, once, and so it does not run again.
        assert (again.reason, lines) == ("TURN_INTERRUPTED", ["first", "h", "second"])


async def test_a_turn_that_has_committed_is_not_said_to_have_done_nothing(
    store: HeldStore, wire: Wire, stage: Stage
) -> None:
    call = asyncio.create_task(outcome(wire.invoke(BOOK, "commit_and_hold", "h")))
    async with tasks(call):
        await stage.reached("h")
        store.fail_next("write")
        unavailable(await outcome(wire.invoke(target("book", "b"), "write", "x")))
        stage.let("h")

        assert unavailable(await call).reason == "COMMIT_UNKNOWN"


@pytest.mark.parametrize("name", ["lines", "lines_plain"])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_reader_never_tells_what_is_not_durable(
    store: HeldStore, server: Server, wire: Wire, name: str, fails: bool
) -> None:
    await wire.invoke(BOOK, "write", "first")
    activation = activation_of(server, "book", "a")
    assert activation is not None
    store.unsynced_kept = 0
    store.hold()
    if fails:
        store.fail_next("sync")
    write = asyncio.create_task(outcome(wire.invoke(BOOK, "write", "x")))
    await store.reached()
    read = asyncio.create_task(outcome(wire.invoke(BOOK, name)))
    async with tasks(write, read):
        # Both are in; a round trip that waits for no sync gives them the time to answer.
        await until(lambda: activation.users == 2)
        await wire_refusal(wire.invoke(BOOK, "no_such_action"))
        assert not read.done()

        store.let_go()

        if fails:
            unavailable(await write)
            unavailable(await read)
        else:
            assert (await write, await read) == (2, ["first", "x"])
    lines = await answered(lambda: wire.invoke(BOOK, name))
    assert lines == (["first"] if fails else ["first", "x"])


async def test_an_error_of_the_actor_does_not_pass_before_the_sync_either(
    store: HeldStore, wire: Wire, stage: Stage
) -> None:
    await wire.invoke(BOOK, "write", "first")
    store.fail_next("sync")

    found = await outcome(wire.invoke(BOOK, "refuse", idempotency_key="k"))

    assert unavailable(found, keyed=True).reason == "COMMIT_UNKNOWN"
    again = await outcome(wire.invoke(BOOK, "refuse", idempotency_key="k"))
    assert again.reason == "USER_ERROR"


async def test_a_failed_read_is_refused_and_the_next_succeeds(
    store: HeldStore, server: Server, wire: Wire
) -> None:
    await wire.invoke(BOOK, "write", "x")
    activation = activation_of(server, "book", "a")
    assert activation is not None
    here = target("book", "a", create=False)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: wire.kv_entries(here),
        lambda: wire.actors.ListActors(pb.ListActorsRequest(name="book")),
        lambda: wire.actors.GetActor(pb.GetActorRequest(actor=here.get)),
        lambda: wire.invoke(here, "lines"),
    ]
    for call in calls:
        await until(lambda: activation.users == 0)
        server.node.catalog.evict(activation.address)
        store.fail_next("read")
        assert unavailable(await wire_refusal(call())).reason == "STORE_UNAVAILABLE"
        await call()


@pytest.mark.parametrize("kept", [0, None])
@pytest.mark.parametrize("after", [0, 1, 3, 6])
async def test_sends_arrive_once_whenever_the_store_fails(
    store: HeldStore, client: Client, kept: int | None, after: int
) -> None:
    """At the write or sync number `after`, from the turn that sends on."""
    told = client.get_or_create(Book, ["told"])
    await told.write("first")
    store.unsynced_kept = kept
    store.fail_after(after)

    await client.get_or_create(Book, ["a"]).tell(4)

    async with asyncio.timeout(20):
        while len(await told.lines()) < 5:
            pass
    assert await told.write("last") == 6
    assert await told.lines() == ["first", "0", "1", "2", "3", "last"]


async def test_an_actor_that_meets_a_failed_read_is_answered_like_a_failed_commit(
    store: HeldStore, wire: Wire
) -> None:
    """What its turn asked of others before may have taken effect."""
    await wire.invoke(BOOK, "write", "x")
    store.fail_next("read")

    found = await outcome(wire.invoke(BOOK, "entries"))

    assert unavailable(found).reason == "COMMIT_UNKNOWN"
    assert result(await wire.invoke(BOOK, "entries")) == ["x"]


async def test_a_read_that_fails_does_not_let_a_call_run_again(
    server: Server, store: HeldStore, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered is looked up in a table, which is read when it is first needed."""
    once = {"client_sequence": numbered(1)}
    assert result(await wire.invoke(BOOK, "write", "x", **once)) == 1
    assert server.node.catalog.evict(Address("default", "book", ("a",)))
    scan, replies = store.scan, keys.kind_range(keys.Kind.REPLY)[0]

    def failing(start: bytes, end: bytes, **options: Any) -> list[tuple[bytes, bytes]]:
        if start.startswith(replies):
            monkeypatch.undo()
            store.fail_next("read")
        return scan(start, end, **options)

    monkeypatch.setattr(store, "scan", failing)
    unavailable(await outcome(wire.invoke(BOOK, "write", "x", **once)), keyed=True)

    assert result(await wire.invoke(BOOK, "write", "x", **once)) == 1
    assert result(await wire.invoke(BOOK, "lines")) == ["x"]
