"""c.send: leaves with the commit, takes effect exactly once, in order for each target."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store import keys
from holdfast_server.store.api import Batch, StoreError
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import until
from tests.server.stage import Stage, stage, tasks


@dataclass
class Inbox:
    texts: list[str] = field(default_factory=list)


class Peer(Actor[Inbox]):
    """Sends to others and keeps what is sent to it."""

    state = Inbox

    async def on_create(self, c: Context[Inbox], input: str | None) -> None:
        if input is not None:
            c.send(Peer, [input], "hear", f"born {c.key[0]}")
        if input == "grave":
            c.destroy()

    async def on_destroy(self, c: Context[Inbox]) -> None:
        c.send(Peer, ["heir"], "hear", f"gone {c.key[0]}")

    @action
    async def hear(self, c: Context[Inbox], text: str) -> int:
        c.state.texts.append(text)
        return len(c.state.texts)

    @action
    async def tell(self, c: Context[Inbox], to: list[str], *texts: str) -> None:
        for text in texts:
            for key in to:
                c.send(Peer, [key], "hear", text)

    @action
    async def tell_and_raise(self, c: Context[Inbox], to: str) -> None:
        c.send(Peer, [to], "hear", "lost")
        c.state.texts.append("lost")
        raise UserError("no", code="refused")

    @action
    async def tell_as(self, c: Context[Inbox], to: str, name: str, text: str) -> None:
        c.send(Peer, [to], name, text)

    @action
    async def try_to_tell(self, c: Context[Inbox], actor: str, name: str, *key: str) -> str:
        try:
            c.send(actor, key, name)
        except ActorError as error:
            c.state.texts.append("refused")
            return f"{error.group}.{error.code}"
        return "sent"

    @action
    async def stumble(self, c: Context[Inbox], text: str) -> None:
        """Raises while the stage says so."""
        c.state.texts.append(f"{text} tries")
        stage.log.append(text)
        if stage.log.count(text) <= 2:
            raise ValueError(text)
        c.state.texts[-1] = text

    @action
    async def refuse(self, c: Context[Inbox], text: str) -> None:
        stage.log.append(text)
        raise UserError("never", code="closed")

    @action
    async def linger(self, c: Context[Inbox], text: str) -> None:
        await stage.pause(text)
        c.state.texts.append(text)

    @action
    async def items(self, c: Context[Inbox]) -> Any:
        yield 1

    @action(read_only=True)
    def texts(self, c: Context[Inbox]) -> list[str]:
        return c.state.texts


registry = setup(use={"peer": Peer})
OUTBOX, INBOX = keys.kind_range(keys.Kind.OUTBOX)[0], keys.inbox_key(b"", b"")
FAST = {"outbox_backoff_s": 0.001, "outbox_backoff_max_s": 0.01}


@pytest.fixture
async def running(start: Start, stage: Stage) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore(), outbox_attempts_max=4, **FAST)


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


def peer(client: Client, key: str) -> Peer:
    return client.get_or_create(Peer, [key])


def rows(server: Server, kind: keys.Kind) -> int:
    """Stored rows of a kind."""
    return len(server.node.store.scan(*keys.kind_range(kind), limit=10_000))


async def delivered(server: Server) -> None:
    """Return once nothing waits in any outbox, with nothing left behind in the store."""
    await until(lambda: rows(server, keys.Kind.OUTBOX) == 0)
    assert rows(server, keys.Kind.INBOX) == 0
    assert check_rows(server.node.store) == []


async def test_sends_arrive_in_order_and_once(running: tuple[Server, Client]) -> None:
    server, client = running
    texts = [str(n) for n in range(40)]

    # Two turns of two senders each, to two targets, all at once.
    half = len(texts) // 2
    one, two = peer(client, "one"), peer(client, "two")
    await asyncio.gather(one.tell(["a", "b"], *texts[:half]), two.tell(["b", "a"], *texts[:half]))
    await asyncio.gather(one.tell(["b", "a"], *texts[half:]), two.tell(["a", "b"], *texts[half:]))
    await delivered(server)

    for key in ("a", "b"):
        heard = await peer(client, key).texts()
        assert sorted(heard) == sorted(texts * 2)
        # Of each sender in order: so each text's first comes before the next text's first.
        assert list(dict.fromkeys(heard)) == texts
        assert list(dict.fromkeys(reversed(heard))) == texts[::-1]


async def test_a_turn_that_fails_sends_nothing(running: tuple[Server, Client]) -> None:
    server, client = running
    assert await code_of(peer(client, "s").tell_and_raise("a")) == "user.refused"
    await peer(client, "s").tell(["a"], "kept")
    await delivered(server)

    assert await peer(client, "a").texts() == ["kept"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (("nobody", "hear"), "actor.name_not_found"),
        (("peer", "dance"), "action.not_found"),
        (("peer", "items"), "action.wrong_kind"),
        (("peer", "hear", "x" * 129), "request.invalid"),
    ],
)
async def test_what_nobody_could_take_is_refused_at_once(
    running: tuple[Server, Client], sent: tuple[str, ...], code: str
) -> None:
    server, client = running

    assert await peer(client, "s").try_to_tell(*sent) == code

    # The turn goes on, and nothing is sent.
    assert await peer(client, "s").texts() == ["refused"]
    assert rows(server, keys.Kind.OUTBOX) == rows(server, keys.Kind.DEAD_SEND) == 0


async def test_a_target_that_raises_is_tried_again_and_keeps_its_lane_in_order(
    running: tuple[Server, Client],
) -> None:
    server, client = running
    sender = peer(client, "s")
    await sender.tell_as("a", "stumble", "one")
    await sender.tell(["a"], "two")
    await delivered(server)

    assert await peer(client, "a").texts() == ["one", "two"]
    assert stage.log == ["one"] * 3
    assert rows(server, keys.Kind.DEAD_SEND) == 0


async def test_a_target_that_never_takes_it_is_given_up(running: tuple[Server, Client]) -> None:
    server, client = running
    sender = peer(client, "s")
    await sender.tell_as("a", "refuse", "one")
    await sender.tell(["a"], "two")
    await sender.tell_as("b", "linger", "three")
    await delivered_but(server, "three")

    assert stage.log == ["one"] * 4
    assert rows(server, keys.Kind.DEAD_SEND) == 1
    assert await peer(client, "a").texts() == ["two"]


async def delivered_but(server: Server, held: str) -> None:
    """All but one send, which is held until then, are delivered, then that one too."""
    await until(lambda: rows(server, keys.Kind.OUTBOX) == 1)
    await stage.reached(held)
    stage.let(held)
    await delivered(server)


async def test_a_busy_target_holds_up_only_its_own(running: tuple[Server, Client]) -> None:
    server, client = running
    busy = asyncio.create_task(peer(client, "a").linger("busy"))
    async with tasks(busy):
        await stage.reached("busy")
        await peer(client, "s").tell(["a", "b"], "one", "two")
        await until(lambda: rows(server, keys.Kind.OUTBOX) == 2)

        assert await peer(client, "b").texts() == ["one", "two"]
        assert await peer(client, "a").texts() == []
        stage.let("busy")
        await busy
    await delivered(server)
    assert await peer(client, "a").texts() == ["busy", "one", "two"]


async def test_an_actor_sends_to_itself(running: tuple[Server, Client]) -> None:
    server, client = running
    await peer(client, "a").tell(["a"], "one", "two")
    await delivered(server)

    assert await peer(client, "a").texts() == ["one", "two"]


async def test_hooks_send_too(running: tuple[Server, Client]) -> None:
    server, client = running
    await client.create(Peer, ["child"], input="parent")
    await client.destroy(Peer, ["child"])
    await delivered(server)

    assert await peer(client, "parent").texts() == ["born child"]
    assert await peer(client, "heir").texts() == ["gone child"]


async def test_an_actor_that_destroys_itself_at_its_start_sends_its_last(
    running: tuple[Server, Client],
) -> None:
    server, client = running

    await client.create(Peer, ["child"], input="grave")
    await delivered(server)

    assert await peer(client, "grave").texts() == ["born child"]
    assert await peer(client, "heir").texts() == ["gone child"]
    assert await code_of(client.get(Peer, ["child"]).texts()) == "actor.not_found"


async def test_a_full_outbox_rolls_the_turn_back(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_rows_max=4)
    sender = peer(client, "s")
    await sender.tell_as("a", "linger", "held")
    await stage.reached("held")
    await sender.tell(["a"], "one", "two", "three")

    assert await code_of(sender.tell(["b"], "four")) == "outbox.full"
    assert await code_of(peer(client, "t").tell(["b"], *map(str, range(5)))) == "outbox.full"
    stage.let("held")
    await delivered(server)

    await sender.tell(["b"], "five", "six", "seven", "eight")
    await delivered(server)
    assert await peer(client, "a").texts() == ["held", "one", "two", "three"]
    assert await peer(client, "b").texts() == ["five", "six", "seven", "eight"]


async def test_an_outbox_full_of_bytes_refuses_as_well(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_bytes_max=500)

    assert await code_of(peer(client, "s").tell(["a"], "x" * 500)) == "outbox.full"
    await peer(client, "s").tell(["a"], "x" * 100)
    await delivered(server)
    assert await peer(client, "a").texts() == ["x" * 100]


async def test_sends_outlive_their_sender(running: tuple[Server, Client]) -> None:
    server, client = running
    await peer(client, "s").tell_as("a", "linger", "held")
    await stage.reached("held")
    await peer(client, "s").tell(["a"], "last will")
    await client.destroy(Peer, ["s"])
    # Another of the same key is another sender.
    await peer(client, "s").tell(["b"], "another")
    stage.let("held")
    await delivered(server)

    assert await peer(client, "a").texts() == ["held", "last will"]
    assert await peer(client, "b").texts() == ["another"]


async def test_sends_survive_a_crash_and_arrive_once(
    start: Start, stage: Stage, tmp_path: Path
) -> None:
    store = MemoryStore()
    server, client = await start(registry, store=store)
    sender = peer(client, "s")
    await sender.tell(["a"], "one")
    await delivered(server)
    await sender.tell_as("a", "linger", "two")
    await sender.tell(["a", "b"], "three", "four")
    await stage.reached("two")
    # What a crash in the middle of the delivery would leave on disk.
    store.checkpoint(str(tmp_path / "crash"))
    left = MemoryStore.from_checkpoint(str(tmp_path / "crash"))
    stage.let("two")

    server, client = await start(registry, store=left)
    await delivered(server)

    assert await peer(client, "a").texts() == ["one", "two", "three", "four"]
    assert await peer(client, "b").texts() == ["three", "four"]


class ArrivedStore(MemoryStore):
    """Remembers its rows as of the moment when a send had just taken effect."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[dict[bytes, bytes]] = []

    def write(self, batch: Batch, epoch: int) -> None:
        super().write(batch, epoch)
        if any(key.startswith(INBOX) and value for _, key, value in batch.ops):
            self.arrived.append(dict(self.scan(b"", b"\xff", limit=10_000)))


async def test_a_send_that_took_effect_before_a_crash_is_not_repeated(
    start: Start, stage: Stage
) -> None:
    store = ArrivedStore()
    server, client = await start(registry, store=store)
    await peer(client, "s").tell(["a"], "one", "two")
    await delivered(server)
    assert len(store.arrived) == 2

    for number, left in enumerate(store.arrived):
        assert sum(key.startswith(OUTBOX) for key in left) == 2 - number
        server, client = await start(registry, store=MemoryStore(left))
        await delivered(server)
        assert await peer(client, "a").texts() == ["one", "two"]
        await peer(client, "s").tell(["a"], "three")
        await delivered(server)
        assert await peer(client, "a").texts() == ["one", "two", "three"]


@pytest.mark.parametrize("applied", [False, True])
async def test_sends_survive_a_store_that_fails(start: Start, stage: Stage, applied: bool) -> None:
    store = FaultyStore(MemoryStore())
    server, client = await start(registry, store=store, store_reopen_s=0.01, **FAST)
    sender, failing = peer(client, "s"), Failing(store, applied)
    for number in range(4):
        failing.in_a_while(number)
        await sender.tell(["a", "b"], str(number))

    await until(lambda: failing.quietly(lambda: rows(server, keys.Kind.OUTBOX) == 0))
    for key in ("a", "b"):
        assert await peer(client, key).texts() == [str(n) for n in range(4)]
    assert rows(server, keys.Kind.DEAD_SEND) == 0


class Failing:
    """Lets a store fail now and then."""

    def __init__(self, store: FaultyStore, applied: bool) -> None:
        self._store = store
        self._applied = applied

    def in_a_while(self, number: int) -> None:
        if self._applied:
            self._store.fail_next("sync" if number % 2 else "write", applied=True)
        else:
            self._store.fail_after(number)

    @staticmethod
    def quietly(look: Callable[[], bool]) -> bool:
        try:
            return look()
        except StoreError:
            return False


async def test_more_lanes_than_are_worked_at_are_all_delivered(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_lanes_max=2)
    targets = [f"t{n}" for n in range(30)]
    stage.let("held")
    senders = [peer(client, f"s{n}") for n in range(5)]

    await asyncio.gather(*(sender.tell(targets, "one", "two") for sender in senders))
    await delivered(server)

    for key in targets:
        heard = await peer(client, key).texts()
        assert sorted(heard) == ["one"] * 5 + ["two"] * 5


async def test_more_lanes_than_are_worked_at_while_two_are_held(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore(), outbox_lanes_max=2)
    sender = peer(client, "s")
    for key in ("a", "b"):
        await sender.tell_as(key, "linger", key)
        await stage.reached(key)
    await sender.tell(["c", "d"], "one")
    await peer(client, "0").tell(["c", "e"], "two")
    # Nothing else moves while both places are taken, and then all does.
    assert rows(server, keys.Kind.OUTBOX) == 6

    stage.let("a")
    await until(lambda: rows(server, keys.Kind.OUTBOX) == 1)
    stage.let("b")
    await delivered(server)

    assert sorted(await peer(client, "c").texts()) == ["one", "two"]


class CountingStore(MemoryStore):
    """Counts the looks at outboxes."""

    looks = 0

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        self.looks += start.startswith(OUTBOX)
        return super().scan(start, end, limit=limit, reverse=reverse)


async def test_lanes_that_wait_for_their_next_try_cost_nothing_meanwhile(
    start: Start, stage: Stage
) -> None:
    store = CountingStore()
    _, client = await start(registry, store=store, outbox_lanes_max=2, outbox_backoff_s=50.0)
    targets = [f"t{n}" for n in range(6)]
    for key in targets:
        await peer(client, "s").tell_as(key, "refuse", key)
    await until(lambda: sorted(stage.log) == targets)
    store.looks = 0

    # A hundred calls go by; none of the lanes is due.
    for _ in range(100):
        await peer(client, "other").texts()

    assert store.looks < 50
    assert sorted(stage.log) == targets
    # A target that takes what it is sent is not held up by them.
    await peer(client, "s").tell(["open"], "one")
    while not (heard := await peer(client, "open").texts()):
        pass
    assert heard == ["one"]


async def test_lanes_without_room_for_a_timer_are_tried_again(
    start: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise the test would have to wait for some seconds.
    monkeypatch.setattr("holdfast_server.runtime.outbox._PASS_S", 0.01)
    server, client = await start(registry, store=MemoryStore(), outbox_lanes_max=2, **FAST)
    targets = [f"t{n}" for n in range(8)]
    for key in targets:
        await peer(client, "s").tell_as(key, "stumble", key)
    await delivered(server)

    assert [await peer(client, key).texts() for key in targets] == [[key] for key in targets]
    assert sorted(stage.log) == sorted(targets * 3)
