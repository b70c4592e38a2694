"""An actor's KV: what a turn reads is what it wrote over what was stored, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast.v1 import kv_service_pb2
from holdfast_server.app import Server
from holdfast_server.store import keys
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import target

Step = tuple[Any, ...]
Outcomes = list[Any]


class Shelf(Actor):
    """Runs whole programs of KV operations in one turn."""

    @action
    async def follow(self, c: Context, program: list[list[Any]]) -> Outcomes:
        return [await perform(c, *step) for step in program]

    @action(interleave=True)
    async def follow_beside(self, c: Context, name: str, program: list[list[Any]]) -> Outcomes:
        found = [await perform(c, *step) for step in program]
        await stage.pause(name)
        return [*found, await perform(c, "list", b"", None, False)]

    @action
    async def misuse(self, c: Context, name: str, *args: Any, **options: Any) -> str:
        try:
            await getattr(c.kv, name)(*args, **options)
        except (TypeError, ValueError) as error:
            return str(error)
        return "done"

    @action(read_only=True)
    async def entries(self, c: Context) -> dict[bytes, Any]:
        return dict(await c.kv.list(key_type="bytes"))

    @action(read_only=True)
    async def change(self, c: Context, *step: Any) -> Any:
        return await perform(c, *step)


async def perform(c: Context, name: str, *args: Any) -> Any:
    """One operation; the code of what it is refused with."""
    try:
        if name == "list":
            prefix, limit, reverse = args
            rows = await c.kv.list(prefix, limit=limit, reverse=reverse, key_type="bytes")
            return [list(row) for row in rows]
        if name == "range":
            start, end, limit, reverse = args
            rows = await c.kv.range(start, end, limit=limit, reverse=reverse, key_type="bytes")
            return [list(row) for row in rows]
        if name == "commit":
            return await c.commit()
        return await getattr(c.kv, name)(*args)
    except ActorError as error:
        return f"{error.group}.{error.code}"


def model(entries: dict[bytes, Any], name: str, *args: Any) -> Any:
    """The same operation over a dict."""
    if name == "put":
        entries[args[0]] = args[1]
    elif name == "put_batch":
        entries.update(args[0])
    elif name in ("delete", "delete_batch"):
        for key in [args[0]] if name == "delete" else args[0]:
            entries.pop(key, None)
    elif name == "delete_range":
        for key in [key for key in entries if args[0] <= key < args[1]]:
            del entries[key]
    elif name == "get":
        return entries.get(args[0])
    elif name == "get_batch":
        return [entries.get(key) for key in args[0]]
    elif name in ("list", "range"):
        *bounds, limit, reverse = args
        found = sorted(entries.items(), reverse=reverse)
        if name == "list":
            found = [row for row in found if row[0].startswith(bounds[0])]
        else:
            found = [row for row in found if bounds[0] <= row[0] < bounds[1]]
        return [list(row) for row in found[:limit]]
    return None


registry = setup(use={"shelf": Shelf})

# Few and nasty: neighbours in order, prefixes of each other, both ends of the byte range.
names = st.sampled_from(
    [b"\x00", b"\x00\x00", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\x00"]
)
bounds = st.one_of(names, st.just(b""))
values = st.sampled_from(["", "text", "\x00\u00fc\U0001f600", b"", b"text", b"\x00\xff\xfe"])
limits = st.one_of(st.none(), st.integers(0, 5))
steps = st.one_of(
    st.tuples(st.just("put"), names, values),
    st.tuples(st.just("put_batch"), st.dictionaries(names, values, max_size=4)),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("delete_batch"), st.lists(names, max_size=3)),
    st.tuples(st.just("delete_range"), bounds, bounds),
    st.tuples(st.just("get"), names),
    st.tuples(st.just("get_batch"), st.lists(names, max_size=3)),
    st.tuples(st.just("list"), bounds, limits, st.booleans()),
    st.tuples(st.just("range"), bounds, bounds, limits, st.booleans()),
    st.tuples(st.just("commit")),
)
numbers = itertools.count()
programs = st.lists(st.lists(steps, max_size=12), min_size=1, max_size=3)


@pytest.fixture(params=["memory", "rocks"])
async def either(start: Start, request: pytest.FixtureRequest) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore() if request.param == "memory" else None)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    # One server serves all examples; each has an actor of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(turns=programs)
@example(turns=[[("put", b"a", b""), ("list", b"", None, False)]])
@example(turns=[[("put", b"\xff", "x")], [("list", b"\xff", None, True)]])
async def test_a_turn_reads_its_own_writes_over_what_is_stored(
    either: tuple[Server, Client], turns: list[list[Step]]
) -> None:
    server, client = either
    shelf, entries = client.get_or_create(Shelf, [str(next(numbers))]), dict[bytes, Any]()

    for turn in turns:
        expected = [model(entries, *step) for step in turn]
        assert await shelf.follow([list(step) for step in turn]) == expected
        assert await shelf.entries() == entries
    assert check_rows(server.node.store) == []


@pytest.fixture
async def running(start: Start, stage: Stage) -> tuple[Server, Client]:
    return await start(
        registry,
        store=MemoryStore(),
        kv_key_bytes_max=8,
        kv_value_bytes_max=100,
        kv_batch_keys_max=4,
        kv_batch_bytes_max=300,
        kv_list_max=5,
        kv_storage_bytes_max=1000,
        turn_bytes_max=2000,
    )


@pytest.fixture
def shelf(running: tuple[Server, Client]) -> Shelf:
    return running[1].get_or_create(Shelf, ["a"])


async def one(shelf: Shelf, *step: Any) -> Any:
    return (await shelf.follow([list(step)]))[0]


BATCH = {f"{n}".encode(): b"x" * 99 for n in range(3)}


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (("put", b"12345678", b"v"), None),
        (("put", b"123456789", b"v"), "kv.key_too_large"),
        (("put", "\u00e4" * 4, b"v"), None),
        (("put", "\u00e4" * 4 + "x", b"v"), "kv.key_too_large"),
        (("put", b"", b"v"), "kv.key_too_large"),
        (("delete", b""), "kv.key_too_large"),
        (("delete", b"123456789"), "kv.key_too_large"),
        (("put", b"k", b"v" * 100), None),
        (("put", b"k", b"v" * 101), "kv.value_too_large"),
        (("put", b"k", "\u00e4" * 50), None),
        (("put", b"k", "\u00e4" * 50 + "x"), "kv.value_too_large"),
        (("put_batch", dict.fromkeys((b"a", b"b", b"c", b"d"), b"v")), None),
        (("put_batch", dict.fromkeys((b"a", b"b", b"c", b"d", b"e"), b"v")), "kv.batch_too_large"),
        (("delete_batch", [b"a", b"b", b"c", b"d"]), None),
        (("delete_batch", [b"a", b"b", b"c", b"d", b"e"]), "kv.batch_too_large"),
        (("put_batch", BATCH), None),
        (("put_batch", {**BATCH, b"3": b""}), "kv.batch_too_large"),
    ],
)
async def test_each_size_has_its_limit_and_its_error(
    shelf: Shelf, step: Step, code: str | None
) -> None:
    assert await one(shelf, *step) == code

    assert bool(await shelf.entries()) is (code is None and step[0].startswith("put"))


async def test_a_refused_batch_writes_none_of_its_entries(shelf: Shelf) -> None:
    assert await one(shelf, "put_batch", {b"a": b"1", b"b": b"x" * 101}) == "kv.value_too_large"
    assert await one(shelf, "put_batch", {b"a": b"1", b"": b"2"}) == "kv.key_too_large"

    assert await shelf.entries() == {}


async def test_a_turn_has_a_limit_for_all_that_it_writes(shelf: Shelf) -> None:
    # Over and over the same key: what counts is what the turn asks for.
    found = await shelf.follow([["put", b"k", b"x" * 100]] * 20)

    assert found[0] is None
    assert found[-1] == "kv.batch_too_large"
    assert found.index("kv.batch_too_large") == 19
    # A commit begins a new count, and ranges are counted as well.
    again = await shelf.follow([["put", b"k", b"x" * 100], ["commit"]] * 25)
    assert set(again) == {None}
    ranges = await shelf.follow([["delete_range", b"a", b"b"]] * 5)
    assert ranges == [None] * 4 + ["kv.batch_too_large"]


async def test_a_list_is_bounded(shelf: Shelf) -> None:
    for start in (0, 4):
        keys_of_turn = range(start, start + 4)
        await one(shelf, "put_batch", {f"{n}".encode(): b"v" for n in keys_of_turn})

    assert [key for key, _ in await one(shelf, "list", b"", None, False)] == list(
        map(_key, range(5))
    )
    assert len(await one(shelf, "list", b"", 100, False)) == 5
    assert len(await one(shelf, "range", b"1", b"9", None, True)) == 5


def _key(number: int) -> bytes:
    return str(number).encode()


async def test_text_comes_back_as_text_and_bytes_as_bytes(shelf: Shelf) -> None:
    entries = {b"text": "\u00fc\x00", b"bytes": b"\xff\x00", b"none": "", b"nob": b""}

    await one(shelf, "put_batch", entries)

    assert await shelf.entries() == entries
    assert await one(shelf, "get_batch", list(entries)) == list(entries.values())
    assert [row[1] for row in await one(shelf, "list", b"no", None, False)] == [b"", ""]


async def test_a_full_storage_refuses_the_turn_that_would_pass_it(
    running: tuple[Server, Client], shelf: Shelf
) -> None:
    # Key, type byte and value: 100 bytes each.
    for n in range(10):
        await one(shelf, "put", _key(n), b"x" * 98)
    assert await code_of(one(shelf, "put", b"a", b"")) == "kv.storage_full"
    assert len(await shelf.follow([["put", b"0", b"y" * 98]])) == 1
    assert await code_of(one(shelf, "put", b"0", b"y" * 99)) == "kv.storage_full"
    # Room is made by what the same turn deletes, by name or by range.
    await shelf.follow([["delete", b"0"], ["put", b"a", b"x" * 98]])
    await shelf.follow([["put", b"b", b"x" * 98], ["delete_range", b"1", b"2"]])
    assert await code_of(shelf.follow([["delete", b"zz"], ["put", b"c", b""]])) == "kv.storage_full"
    # Overlapping ranges free their bytes once.
    await shelf.follow([["delete_range", b"2", b"6"], ["delete_range", b"4", b"8"]])
    found = await shelf.follow([["put", _key(n), b"x" * 98] for n in range(6)])
    assert found == [None] * 6
    assert await code_of(one(shelf, "put", b"c", b"")) == "kv.storage_full"

    assert check_rows(running[0].node.store) == []
    await shelf.follow([["delete_range", b"", b"\xff\xff"]])
    assert await shelf.entries() == {}
    assert check_rows(running[0].node.store) == []


async def test_a_refused_turn_leaves_the_actor_as_it_was(
    running: tuple[Server, Client], shelf: Shelf
) -> None:
    await one(shelf, "put", b"kept", b"x" * 100)
    program = [["delete", b"kept"], *(["put", _key(n), b"x" * 100] for n in range(12))]

    assert await code_of(shelf.follow(program)) == "kv.storage_full"

    assert await shelf.entries() == {b"kept": b"x" * 100}
    assert check_rows(running[0].node.store) == []


async def test_a_read_only_action_reads_and_changes_nothing(shelf: Shelf) -> None:
    await one(shelf, "put", b"a", "1")

    assert await shelf.change("get", b"a") == "1"
    for step in (
        ("put", b"a", b""), ("put_batch", {}), ("delete", b"a"), ("delete_batch", []),
        ("delete_range", b"a", b"b"), ("delete_range", b"b", b"a"), ("commit",),
    ):  # fmt: skip
        assert await shelf.change(*step) == "action.read_only"
    assert await shelf.entries() == {b"a": "1"}


async def test_from_outside_only_finished_turns_are_seen(
    running: tuple[Server, Client], shelf: Shelf, connect: Connect
) -> None:
    wire, on = connect(running[0]), target("shelf", "a", create=False)
    await one(shelf, "put_batch", {b"a": b"old", b"b": b"old"})
    program = [["put", b"a", b"new"], ["delete", b"b"], ["put", b"\xff", b"\x00"]]
    writing = asyncio.create_task(shelf.follow_beside("pause", program))
    async with tasks(writing):
        await stage.reached("pause")
        assert await wire.kv_entries(on) == {b"a": b"old", b"b": b"old"}
        stage.let("pause")
        await writing

    assert await wire.kv_entries(on) == {b"a": b"new", b"\xff": b"\x00"}
    request = kv_service_pb2.GetKvEntriesRequest(target=on, keys=[b"\xff", b"b", b"a"])
    found = (await wire.kv.GetKvEntries(request)).entries
    assert [(entry.key, entry.value, entry.text) for entry in found] == [
        (b"\xff", b"\x00", False),
        (b"a", b"new", False),
    ]
    assert (
        await wire_refusal(wire.kv_entries(target("shelf", "none", create=False)))
    ).reason == "ACTOR_NOT_FOUND"


async def test_interleaved_turns_see_their_own_writes_and_the_last_one_stays(
    running: tuple[Server, Client], shelf: Shelf
) -> None:
    await one(shelf, "put_batch", {b"a": b"0", b"b": b"0", b"c": b"0"})
    first = asyncio.create_task(
        shelf.follow_beside("first", [["put", b"a", b"1"], ["delete_range", b"b", b"d"]])
    )
    second = asyncio.create_task(
        shelf.follow_beside(
            "second", [["put", b"a", b"22"], ["put", b"c", b"22"], ["put", b"d", b""]]
        )
    )
    async with tasks(first, second):
        await stage.reached("first")
        await stage.reached("second")
        stage.let("second")
        assert (await second)[-1] == [[b"a", b"22"], [b"b", b"0"], [b"c", b"22"], [b"d", b""]]
        stage.let("first")
        # What came since shows through, but for what this turn has written itself.
        assert (await first)[-1] == [[b"a", b"1"], [b"d", b""]]

    assert await shelf.entries() == {b"a": b"1", b"d": b""}
    assert check_rows(running[0].node.store) == []
    left = running[0].node.store.scan(*keys.kind_range(keys.Kind.KV_USAGE), limit=10)
    assert [int.from_bytes(value) for _, value in left] == [3 + 2]


async def test_a_destroyed_actor_leaves_none_of_its_kv(
    running: tuple[Server, Client], shelf: Shelf
) -> None:
    await one(shelf, "put_batch", {b"\x00": b"x", b"\xff\xff": b"x"})
    await running[1].destroy(Shelf, ["a"])

    assert await shelf.entries() == {}
    assert check_rows(running[0].node.store) == []


async def test_keys_and_limits_of_a_wrong_kind_are_named(start: Start) -> None:
    _, client = await start(registry, store=MemoryStore())
    shelf = client.get_or_create(Shelf, ["a"])

    for key in (5, -1, 1.5, None, [65, 66], 300_000_000):
        wrong = f"a KV key is str or bytes, not {type(key).__name__}"
        for name, args in (
            ("put", [key, "x"]),
            ("get", [key]),
            ("delete", [key]),
            ("get_batch", [[key]]),
            ("delete_batch", [[key]]),
            ("list", [key]),
            ("range", ["a", key]),
            ("delete_range", [key, "b"]),
        ):
            assert await shelf.misuse(name, *args) == wrong
    for name in ("get_batch", "delete_batch"):
        assert await shelf.misuse(name, "ab") == "keys are a list of KV keys, not one of str"
    for name, args in (("list", ["a"]), ("range", ["a", "b"])):
        told = await shelf.misuse(name, *args, limit=-1)
        assert told == "limit is -1; it is 0 to 16384 (kv_list_max), or None"
    assert await shelf.entries() == {}
