"""The way of one action, over a real channel and a real RocksDB."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import ActorError, Client
from tests.server.actors import Counter
from tests.server.conftest import Start


async def test_state_is_there_after_a_restart(start: Start) -> None:
    server, client = await start()
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.increment(2) == 2
    await client.close()
    await server.stop()

    _, client = await start()

    assert await client.get(Counter, ["a"]).value() == 2


async def test_a_missing_actor_is_not_found(client: Client) -> None:
    with pytest.raises(ActorError) as caught:
        await client.get(Counter, ["nobody"]).value()

    assert (caught.value.group, caught.value.code) == ("actor", "not_found")


@pytest.mark.parametrize(
    ("how", "group", "code"),
    [("user", "user", "refused"), ("bug", "internal", "internal_error")],
)
async def test_a_failed_turn_leaves_no_trace(
    client: Client, how: str, group: str, code: str
) -> None:
    counter = client.get_or_create(Counter, ["a"])
    await counter.increment(1)

    with pytest.raises(ActorError) as caught:
        await counter.fail(how)

    assert (caught.value.group, caught.value.code) == (group, code)
    assert await counter.value() == 1
    assert await counter.entries() == []


async def test_read_only_actions_may_change_nothing(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])

    with pytest.raises(ActorError) as caught:
        await counter.cheat()

    assert caught.value.code == "read_only"
    assert await counter.value() == 0


async def test_a_retry_with_the_same_key_runs_once(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"]).with_options(idempotency_key="k")

    assert [await counter.increment(1) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(ActorError) as caught:
        await counter.increment(2)
    assert caught.value.code == "key_reused"


async def test_a_user_error_is_stored_under_its_key(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"]).with_options(idempotency_key="k")

    for _ in range(2):
        with pytest.raises(ActorError) as caught:
            await counter.fail("user")
        assert caught.value.metadata == {"n": 1}


async def test_a_key_outlives_a_restart_and_destroy(start: Start) -> None:
    server, client = await start()
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.with_options(idempotency_key="k").increment(7) == 7
    assert await counter.finish() == "bye"
    await client.close()
    await server.stop()

    _, client = await start()
    counter = client.get_or_create(Counter, ["a"])

    assert await counter.with_options(idempotency_key="k").increment(7) == 7
    assert await counter.value() == 0


async def test_streams_commit_each_item(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])

    assert [item async for item in counter.stream(3)] == [1, 2, 3]
    assert await counter.value() == 3


async def test_turns_of_one_actor_run_one_at_a_time(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])

    results = await asyncio.gather(*(counter.increment(1) for _ in range(200)))

    assert sorted(results) == list(range(1, 201))


async def test_sends_take_effect_once_each(client: Client) -> None:
    await client.get_or_create(Counter, ["a"]).tell("b", 5)
    other = client.get_or_create(Counter, ["b"])

    async with asyncio.timeout(10):
        while await other.value() < 5:
            pass
    assert await other.value() == 5


async def test_actors_call_each_other_and_cycles_fail_at_once(client: Client) -> None:
    one = client.get_or_create(Counter, ["a"])
    assert await one.ask("b") == 1

    with pytest.raises(ActorError) as caught:
        await one.circle("b")

    assert caught.value.code in {"call_cycle", "internal_error"}


async def test_a_deadline_cancels_the_handler(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])

    with pytest.raises(ActorError) as caught:
        await counter.with_options(timeout=0.2).sleep(30)

    assert caught.value.code == "timed_out"
    assert await counter.increment(1) == 1


async def test_kv_is_read_within_the_turn_and_listed(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])

    assert await counter.put("x/1", "one") == "one"
    await counter.put("y", "two")

    assert await counter.entries("x/") == ["x/1"]


async def test_destroy_makes_room_for_a_new_actor(client: Client) -> None:
    counter = client.get_or_create(Counter, ["a"])
    before = await counter.resolve()
    await counter.increment(5)

    assert await counter.finish() == "bye"

    assert await counter.value() == 0
    assert await client.get_or_create(Counter, ["a"]).resolve() != before


async def test_threaded_actions_change_state(client: Client) -> None:
    assert await client.get_or_create(Counter, ["a"]).threaded() == 1


async def test_create_twice_is_refused_and_list_is_ordered(client: Client) -> None:
    for key in ("b", "a", "c"):
        await client.create(Counter, [key])

    with pytest.raises(ActorError) as caught:
        await client.create(Counter, ["a"])

    assert caught.value.code == "duplicate_key"
    assert [actor.key async for actor in client.list(Counter)] == [("a",), ("b",), ("c",)]
