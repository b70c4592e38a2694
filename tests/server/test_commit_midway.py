"""c.commit() in the middle of a turn: a point of no return, and never run again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store import keys
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.probe import until
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import result, target


@dataclass
class Page:
    lines: list[str] = field(default_factory=list)


class Book(Actor[Page]):
    """Writes `first`, commits, writes `second`, and ends as it is told."""

    state = Page

    async def on_create(self, c: Context[Page], input: str | None) -> None:
        if input == "commit":
            c.state.lines.append(await attempt(c))

    @action
    async def write(self, c: Context[Page], end: str) -> int:
        stage.log.append(f"write {end}")
        lines = c.state.lines
        lines.append("first")
        await c.kv.put("first", "1")
        c.send(Book, ["other"], "note", "first")
        await c.commit()
        # Through the reference from before the commit.
        lines.append("second")
        await c.kv.put("second", "2")
        c.send(Book, ["other"], "note", "second")
        if end == "pause":
            await stage.pause("committed")
        if end == "user":
            raise UserError("no", code="refused")
        if end == "bug":
            raise ValueError(end)
        return len(c.state.lines)

    @action
    async def twice(self, c: Context[Page]) -> None:
        for line in ("one", "two"):
            c.state.lines.append(line)
            await c.commit()
        c.state.lines.append("three")
        raise ValueError("three")

    @action
    async def nothing(self, c: Context[Page]) -> None:
        await c.commit()
        raise ValueError("after a commit of nothing")

    @action
    async def replace(self, c: Context[Page]) -> None:
        c.state = Page(["replaced"])
        await c.commit()
        c.state = Page(["lost"])
        raise ValueError("lost")

    @action
    async def finish(self, c: Context[Page]) -> str:
        c.destroy()
        return await attempt(c)

    @action(read_only=True)
    async def peek(self, c: Context[Page]) -> str:
        return await attempt(c)

    @action
    async def spill(self, c: Context[Page]) -> str:
        """A commit that is refused, caught, and made good."""
        c.state.lines.append("too much")
        await c.kv.put("big", "x" * 200)
        code = await attempt(c)
        c.state.lines.pop()
        await c.kv.delete("big")
        await c.kv.put("small", code)
        return code

    @action
    async def unspill(self, c: Context[Page]) -> str:
        """A commit that the outbox refuses, caught."""
        await c.kv.put("kept", "1")
        for _ in range(5):
            c.send(Book, ["other"], "note", "x")
        return await attempt(c)

    @action
    async def squeeze(self, c: Context[Page]) -> str:
        """A commit that the outbox refuses, caught; the turn ends when there is room."""
        await c.kv.put("kept", "1")
        for _ in range(2):
            c.send(Book, ["other"], "note", "late")
        code = await attempt(c)
        await stage.pause("refused")
        return code

    @action
    async def hold(self, c: Context[Page], line: str) -> None:
        await stage.pause(line)

    @action
    async def note(self, c: Context[Page], line: str) -> None:
        stage.log.append(f"note {line}")
        c.state.lines.append(line)

    @action
    async def note_and_raise(self, c: Context[Page], line: str) -> None:
        stage.log.append(f"note {line}")
        c.state.lines.append(line)
        await c.commit()
        c.state.lines.append("lost")
        raise ValueError(line)

    @action
    async def tell(self, c: Context[Page], *actions: str) -> None:
        for name in actions:
            c.send(Book, ["other"], name, name)

    @action(read_only=True)
    def lines(self, c: Context[Page]) -> list[str]:
        return c.state.lines

    @action(read_only=True)
    async def entries(self, c: Context[Page]) -> list[str]:
        return [key for key, _ in await c.kv.list()]


async def attempt(c: Context[Any]) -> str:
    """The code that c.commit() is refused with."""
    try:
        await c.commit()
    except ActorError as error:
        return f"{error.group}.{error.code}"
    return "committed"


registry = setup(use={"book": Book})


@pytest.fixture
async def running(start: Start, stage: Stage) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore())


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


@pytest.fixture
def book(client: Client) -> Book:
    return client.get_or_create(Book, ["a"])


def rows(server: Server, kind: keys.Kind) -> int:
    """Stored rows of a kind."""
    return len(server.node.store.scan(*keys.kind_range(kind), limit=1000))


async def other_lines(client: Client, count: int) -> list[str]:
    """What was sent to the other book, once there are `count` lines."""
    while len(found := await client.get_or_create(Book, ["other"]).lines()) < count:
        pass
    return found


async def test_what_follows_a_commit_is_committed_as_well(client: Client, book: Book) -> None:
    assert await book.write("return") == 2

    assert await book.lines() == ["first", "second"]
    assert await book.entries() == ["first", "second"]
    assert await other_lines(client, 2) == ["first", "second"]


@pytest.mark.parametrize("end", ["user", "bug"])
async def test_a_raise_undoes_only_what_follows_the_commit(
    client: Client, book: Book, end: str
) -> None:
    await refused_write(book, end)

    assert await book.lines() == ["first"]
    assert await book.entries() == ["first"]
    await book.note("later")
    assert await book.lines() == ["first", "later"]
    # The lane is in order: a second send, had it left, would be there before this one.
    await book.tell("note")
    assert await other_lines(client, 2) == ["first", "note"]


async def refused_write(book: Book, end: str) -> None:
    code = "user.refused" if end == "user" else "internal.internal_error"
    assert await code_of(book.write(end)) == code


async def test_each_commit_moves_the_point_of_no_return(book: Book) -> None:
    await code_of(book.twice())
    assert await book.lines() == ["one", "two"]

    await code_of(book.replace())
    assert await book.lines() == ["replaced"]


async def test_what_was_committed_can_be_seen_before_the_turn_ends(
    client: Client, book: Book
) -> None:
    writing = asyncio.create_task(book.write("pause"))
    async with tasks(writing):
        await stage.reached("committed")
        assert await book.lines() == ["first"]
        assert await book.entries() == ["first"]
        assert await other_lines(client, 1) == ["first"]
        stage.let("committed")
        assert await writing == 2


async def test_a_retry_of_a_turn_cut_short_is_refused(book: Book) -> None:
    keyed = book.with_options(idempotency_key="k")
    await refused_write(keyed, "bug")

    for _ in range(2):
        assert await code_of(keyed.write("bug")) == "action.turn_interrupted"
    assert await code_of(keyed.write("user")) == "idempotency.key_reused"
    assert stage.log.count("write bug") == 1
    assert await book.lines() == ["first"]


async def test_a_commit_of_nothing_uses_up_the_key_as_well(book: Book) -> None:
    keyed = book.with_options(idempotency_key="k")

    assert await code_of(keyed.nothing()) == "internal.internal_error"
    assert await code_of(keyed.nothing()) == "action.turn_interrupted"


async def test_a_user_error_after_a_commit_is_kept(book: Book) -> None:
    keyed = book.with_options(idempotency_key="k")

    for _ in range(2):
        assert await code_of(keyed.write("user")) == "user.refused"
    assert stage.log.count("write user") == 1


async def test_a_result_after_a_commit_is_kept(
    running: tuple[Server, Client], connect: Connect
) -> None:
    wire = connect(running[0])
    answers = [
        await wire.invoke(target("book", "a"), "write", "return", idempotency_key="k")
        for _ in range(2)
    ]

    assert [(result(answer), answer.replayed) for answer in answers] == [(2, False), (2, True)]


async def test_a_caller_that_cancels_after_a_commit_leaves_what_was_committed(
    running: tuple[Server, Client], connect: Connect, book: Book
) -> None:
    wire, on = connect(running[0]), target("book", "a")
    first = asyncio.create_task(wire.invoke(on, "write", "pause", idempotency_key="k"))
    await stage.reached("committed")
    joined = asyncio.create_task(wire.invoke(on, "write", "pause", idempotency_key="k"))
    first.cancel()

    assert (await wire_refusal(joined)).reason == "TURN_INTERRUPTED"
    assert await book.lines() == ["first"]
    assert stage.log.count("write pause") == 1
    assert running[0].node.flights == {}


async def test_a_crash_after_a_commit_leaves_what_was_committed(
    start: Start, connect: Connect, stage: Stage, tmp_path: Any
) -> None:
    store = MemoryStore()
    server, _ = await start(registry, store=store)
    writing = asyncio.create_task(
        connect(server).invoke(target("book", "a"), "write", "pause", idempotency_key="k")
    )
    async with tasks(writing):
        await stage.reached("committed")
        # What a crash at this point would leave on disk.
        store.checkpoint(str(tmp_path / "crash"))

        left = MemoryStore.from_checkpoint(str(tmp_path / "crash"))
        assert check_rows(left) == []
        server, client = await start(registry, store=left)
        wire, on = connect(server), target("book", "a")

        refusal = await wire_refusal(wire.invoke(on, "write", "pause", idempotency_key="k"))
        assert (refusal.status, refusal.reason) == ("ABORTED", "TURN_INTERRUPTED")
        assert await client.get(Book, ["a"]).lines() == ["first"]
        assert await other_lines(client, 1) == ["first"]
    assert stage.log.count("write pause") == 1


async def test_a_commit_whose_sync_fails_ends_the_turn_as_unknown(
    start: Start, connect: Connect, stage: Stage
) -> None:
    store = FaultyStore(MemoryStore())
    store.unsynced_kept = 0
    server, client = await start(registry, store=store)
    await client.get_or_create(Book, ["a"]).note("before")
    store.fail_next("sync", applied=False)
    refusal = await wire_refusal(
        connect(server).invoke(target("book", "a"), "write", "return", idempotency_key="k")
    )

    # The handler met the failure of its commit; the caller is told that it may repeat
    # the call with its key, which here runs, as nothing of the first try was kept.
    assert refusal.reason == "COMMIT_UNKNOWN"
    again = await connect(server).invoke(
        target("book", "a"), "write", "return", idempotency_key="k"
    )
    assert result(again) == 3
    assert await client.get(Book, ["a"]).lines() == ["before", "first", "second"]


async def test_where_there_is_no_middle_a_commit_is_refused(client: Client, book: Book) -> None:
    created = client.get_or_create(Book, ["made"], input="commit")
    assert await created.lines() == ["actor.no_turn"]

    await book.note("x")
    assert await book.peek() == "action.read_only"
    assert await book.finish() == "actor.no_turn"
    assert await code_of(client.get(Book, ["a"]).lines()) == "actor.not_found"


async def test_a_refused_commit_that_is_caught_leaves_the_turn_whole(
    start: Start, stage: Stage
) -> None:
    _, client = await start(registry, store=MemoryStore(), kv_storage_bytes_max=100)
    book = client.get_or_create(Book, ["a"])
    await book.note("before")

    assert await book.spill() == "kv.storage_full"

    assert await book.lines() == ["before"]
    assert await book.entries() == ["small"]
    # Also after the state is read back, which a failed turn makes it do.
    await refused_write(book, "bug")
    assert await book.lines() == ["before", "first"]


async def test_a_commit_that_the_outbox_refuses_commits_nothing(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_rows_max=3)
    book = client.get_or_create(Book, ["a"])

    assert await code_of(book.unspill()) == "outbox.full"

    assert await book.entries() == []
    assert rows(server, keys.Kind.OUTBOX) == 0


async def test_a_commit_that_the_outbox_refuses_loses_nothing_of_the_turn(
    start: Start, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_rows_max=3)
    book = client.get_or_create(Book, ["a"])
    await book.tell("hold", "note")
    await stage.reached("hold")
    squeezing = asyncio.create_task(book.squeeze())
    async with tasks(squeezing):
        await stage.reached("refused")
        stage.let("hold")
        await until(lambda: rows(server, keys.Kind.OUTBOX) == 0)
        stage.let("refused")

        assert await squeezing == "outbox.full"
    assert await book.entries() == ["kept"]
    assert await other_lines(client, 3) == ["note", "late", "late"]


async def test_a_commit_in_a_delivered_send_is_its_delivery(
    running: tuple[Server, Client], client: Client, book: Book
) -> None:
    server = running[0]
    await book.tell("note_and_raise", "note")

    assert await other_lines(client, 2) == ["note_and_raise", "note"]
    await until(lambda: rows(server, keys.Kind.OUTBOX) == 0)
    assert stage.log == ["note note_and_raise", "note note"]
    assert (rows(server, keys.Kind.DEAD_SEND), rows(server, keys.Kind.INBOX)) == (0, 0)
