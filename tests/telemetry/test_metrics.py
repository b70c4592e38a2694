"""What /metrics tells of a real server."""

from __future__ import annotations

import asyncio
import math

import pytest

from holdfast import ActorError
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.telemetry.metrics import METRICS, PROCESS, Kind
from tests.server.probe import until, until_waiting
from tests.telemetry.busy import Busy, registry, some_load
from tests.telemetry.conftest import Start
from tests.telemetry.scraping import OPEN_METRICS, Scrape, get, scrape

_SUFFIXES = {
    Kind.SECONDS: ("_bucket", "_count", "_sum"),
    Kind.SIZES: ("_bucket", "_count", "_sum"),
    Kind.SUMMARY: ("_count", "_sum"),
}


def said(name: str) -> set[str]:
    """The names of the samples of a metric."""
    return {f"{name}{suffix}" for suffix in _SUFFIXES.get(METRICS[name].kind, ("",))}


async def test_every_metric_is_told_after_a_little_load(start: Start) -> None:
    server, client = await start(registry)
    await some_load(server, client)

    names = (await scrape(server)).names
    expected = set().union(*(said(name) for name in METRICS))
    assert {name for name in names if name.startswith("holdfast_")} == expected
    assert {name for name, _, _ in PROCESS} <= names


async def test_a_reader_may_ask_for_open_metrics(start: Start) -> None:
    server, client = await start(registry)
    await some_load(server, client)

    status, content_type, text = await get(server, accept=OPEN_METRICS)
    assert (status, content_type.split(";")[0]) == (200, "application/openmetrics-text")
    # The parser of this format is strict.
    found = Scrape(text, open_metrics=True)
    assert found.value("holdfast_action_duration_seconds_count", action="add") >= 5


async def test_calls_are_counted_by_action_and_failures_by_reason(start: Start) -> None:
    server, client = await start(registry)
    busy = client.get_or_create(Busy, ["a"])
    for _ in range(3):
        await busy.add()
    with pytest.raises(ActorError):
        await busy.refuse()
    with pytest.raises(ActorError):
        await client.get(Busy, ["nobody"]).add()
    with pytest.raises(ActorError):
        await busy.action("no such action")

    found = await scrape(server)
    duration, errors = "holdfast_action_duration_seconds", "holdfast_action_errors_total"
    assert found.value(f"{duration}_count", actor="busy", action="add") == 4
    assert found.value(f"{duration}_sum", actor="busy", action="add") > 0
    assert found.value(f"{duration}_bucket", action="add", le="+Inf") == 4
    buckets = found.all(f"{duration}_bucket", action="add")
    assert buckets == sorted(buckets)
    assert found.value(errors, action="refuse", reason="USER_ERROR") == 1
    assert found.value(errors, action="add", reason="ACTOR_NOT_FOUND") == 1
    assert found.labels(f"{duration}_count", "action") == set(registry.types["busy"].actions)
    # Those that found no action are only here.
    assert found.value("holdfast_call_errors_total", reason="ACTION_NOT_FOUND") == 1
    assert found.value("holdfast_call_errors_total", reason="ACTOR_NOT_FOUND") == 1
    assert found.value("holdfast_call_errors_total", reason="USER_ERROR") == 1
    assert found.value("holdfast_calls_in_progress") == 0


async def test_rpcs_are_counted_by_method_and_status(start: Start) -> None:
    server, client = await start(registry)
    busy = client.get_or_create(Busy, ["a"])
    await busy.add()
    with pytest.raises(ActorError):
        await client.get(Busy, ["nobody"]).resolve()

    found = await scrape(server)
    assert found.value("holdfast_rpc_duration_seconds_count", method="ActorService/GetActor") == 1
    status = {"method": "ActorService/GetActor", "status": "NOT_FOUND"}
    assert found.value("holdfast_rpc_errors_total", **status) == 1
    assert found.value("holdfast_rpc_errors_total", method="ActorService/InvokeAction") == 0


async def test_retries_that_were_answered_before_are_counted(start: Start) -> None:
    Busy.gate, Busy.waiting = asyncio.Event(), 0
    server, client = await start(registry)
    busy = client.get_or_create(Busy, ["a"])
    keyed = busy.with_options(idempotency_key="k")
    await keyed.add()
    await keyed.add()
    held = busy.with_options(idempotency_key="h")
    first = asyncio.create_task(held.hold())
    await until(lambda: Busy.waiting)
    second = asyncio.create_task(held.hold())
    await until(lambda: server.node.calls == 2)
    Busy.gate.set()
    await asyncio.gather(first, second)

    found = await scrape(server)
    assert found.value("holdfast_replies_replayed_total") == 1
    assert found.value("holdfast_replies_joined_total") == 1


async def test_turns_that_wait_are_counted_and_refused_ones_by_reason(start: Start) -> None:
    Busy.gate, Busy.waiting = asyncio.Event(), 0
    server, client = await start(registry, mailbox_max=2)
    busy = client.get_or_create(Busy, ["a"]).with_options(timeout=20)
    holding = asyncio.create_task(busy.hold())
    await until(lambda: Busy.waiting)
    waiting = [asyncio.create_task(busy.add()) for _ in range(2)]
    await until_waiting(server, 2, "busy", "a")

    refused = asyncio.create_task(busy.add())
    await until(lambda: server.node.tally.errors)
    during = await scrape(server)
    assert during.value("holdfast_mailbox_waiting") == 2
    assert during.value("holdfast_action_errors_total", reason="ACTOR_OVERLOADED") >= 1
    Busy.gate.set()
    # The one that was refused is tried again by its client.
    await asyncio.gather(holding, *waiting, refused)
    after = await scrape(server)
    assert after.value("holdfast_mailbox_waiting") == 0
    assert after.value("holdfast_mailbox_wait_seconds_count") >= 2


async def test_commits_are_counted_in_groups_and_at_the_gate(start: Start) -> None:
    server, client = await start(registry)
    await asyncio.gather(*(client.get_or_create(Busy, [str(n)]).add() for n in range(20)))
    await server.node.committer.barrier()

    found = await scrape(server)
    batches = found.value("holdfast_commit_batches_total")
    # Each actor was created, and has counted.
    assert batches >= 40
    assert found.value("holdfast_commit_group_batches_sum") == batches
    assert found.value("holdfast_gate_wait_seconds_count") == batches
    groups = found.value("holdfast_commit_group_batches_count")
    assert 0 < groups < batches
    assert found.value("holdfast_sync_duration_seconds_count") == groups
    assert found.value("holdfast_commit_duration_seconds_count") == groups
    # No batch waits shorter than its group's sync, nor longer than the first of its group.
    assert found.value("holdfast_commit_pending") == 0
    assert found.value("holdfast_gate_wait_seconds_sum") > 0


async def test_events_actors_timers_and_sends_are_counted(start: Start) -> None:
    server, client = await start(registry, events_max=3)
    await some_load(server, client)
    busy = client.get_or_create(Busy, ["a"])
    await busy.say(4)
    found = await scrape(server)
    assert found.value("holdfast_events_total") == 6
    assert found.value("holdfast_events_ephemeral_total") == 2
    assert found.value("holdfast_events_trimmed_total") == 3
    assert found.value("holdfast_sends_total") == 1
    assert found.value("holdfast_timer_delay_seconds_count") == 1
    assert found.value("holdfast_actors_created_total", actor="busy") == 2
    assert found.value("holdfast_actors_awake", actor="busy") == 2
    await client.destroy(Busy, ["b"])
    after = await scrape(server)
    assert after.value("holdfast_actors_destroyed_total", actor="busy") == 1


async def test_labels_are_bounded(start: Start) -> None:
    server, client = await start(registry, metrics_actions_max=2)
    busy = client.get_or_create(Busy, ["a"])
    await busy.add()
    await busy.tell("b")
    await busy.value()
    await until(lambda: server.node.tally.sends == 1)

    found = await scrape(server)
    count = "holdfast_action_duration_seconds_count"
    assert found.labels(count, "action") == {"add", "hold", "other"}
    assert found.value(count, action="add") == 2
    assert found.value(count, actor="other", action="other") == 2


async def test_what_callers_send_is_no_label(start: Start) -> None:
    server, client = await start(registry)
    with pytest.raises(ActorError):
        await client.get_or_create("secret-name", ["secret-key"]).action("secret_action")
    with pytest.raises(ActorError):
        await client.get_or_create(Busy, ["secret-key"]).action("secret_action")

    _, _, text = await get(server)
    assert "secret" not in text


async def test_a_store_that_fails_is_seen(start: Start) -> None:
    store = FaultyStore(MemoryStore())
    server, client = await start(registry, store=store, store_reopen_s=0.01)
    busy = client.get_or_create(Busy, ["a"])
    await busy.add()
    store.broken = True
    with pytest.raises(ActorError):
        await busy.with_options(timeout=0.5).add()
    await until(lambda: server.listener.health.reason)

    during = await scrape(server)
    assert during.value("holdfast_store_available") == 0
    assert during.value("holdfast_serving") == 0
    assert (await get(server, "/readyz"))[0] == 503
    assert (await get(server, "/healthz"))[0] == 200
    store.broken = False
    await until(lambda: not server.listener.health.reason)
    after = await scrape(server)
    assert after.value("holdfast_store_available") == 1
    assert after.value("holdfast_store_failures_total") == 1
    assert (await get(server, "/readyz"))[0] == 200


async def test_a_histogram_counts_every_value_in_one_bucket(start: Start) -> None:
    server, client = await start(registry)
    await some_load(server, client)
    found = await scrape(server)
    for name, metric in METRICS.items():
        if metric.kind in (Kind.SECONDS, Kind.SIZES):
            total = sum(found.all(f"{name}_count"))
            assert sum(found.all(f"{name}_bucket", le="+Inf")) == total
    assert not [sample for sample in found.samples if math.isnan(sample.value)]
