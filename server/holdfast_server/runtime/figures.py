"""What a scrape is told of a node: its tallies and its sizes, under the names of
`telemetry.metrics`.

Gathered on the loop, so that the numbers fit together, and in a time that does not grow
with actors or connections. Of actions the first `metrics_actions_max` have names of
their own, in the order of the registry; the others are one, `other`, so that no label's
values are without bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.tally import ActorTally, CallTally, Sample, Summary

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

OTHER: Final = "other"


def samples_of(node: Node) -> Iterator[Sample]:
    """All samples of a node and its store."""
    yield from _actions(node)
    yield from _actors(node)
    yield from _calls(node)
    yield from _commits(node)
    yield from _events(node)
    yield from _timers_and_sends(node)
    yield from node.store.samples()


def _actions(node: Node) -> Iterator[Sample]:
    runner = node.runner
    pairs = (
        (name, action, info.tally)
        for name in sorted(runner.names())
        for action, info in sorted(runner.info(name).actions.items())
    )
    for actor, action, tally in islice(pairs, node.limits.metrics_actions_max):
        yield from _action(actor, action, tally)
    others: CallTally | None = None
    for _, _, tally in pairs:
        others = others or CallTally()
        others.include(tally)
    if others is not None:
        yield from _action(OTHER, OTHER, others)


def _action(actor: str, action: str, tally: CallTally) -> Iterator[Sample]:
    labels = actor, action
    yield Sample("holdfast_action_duration_seconds", tally.durations.copy(), labels)
    for reason, count in tally.errors.items():
        yield Sample("holdfast_action_errors_total", count, (*labels, reason))


def _actors(node: Node) -> Iterator[Sample]:
    names = iter(sorted(node.runner.names()))
    for name in islice(names, node.limits.metrics_actions_max):
        yield from _actor(name, node.runner.info(name).tally)
    others: ActorTally | None = None
    for name in names:
        others = others or ActorTally()
        others.include(node.runner.info(name).tally)
    if others is not None:
        yield from _actor(OTHER, others)
    yield Sample("holdfast_actors_sleeping", len(node.sleeper))
    yield Sample("holdfast_state_bytes", node.catalog.state_bytes)


def _actor(name: str, tally: ActorTally) -> Iterator[Sample]:
    labels = (name,)
    yield Sample("holdfast_actors_awake", tally.loaded - tally.left, labels)
    yield Sample("holdfast_activations_total", tally.loaded, labels)
    yield Sample("holdfast_evictions_total", tally.left, labels)
    yield Sample("holdfast_actors_created_total", tally.created, labels)
    yield Sample("holdfast_actors_destroyed_total", tally.destroyed, labels)


def _calls(node: Node) -> Iterator[Sample]:
    tally = node.tally
    for reason, count in tally.errors.items():
        yield Sample("holdfast_call_errors_total", count, (reason,))
    yield Sample("holdfast_calls_in_progress", node.calls)
    yield Sample("holdfast_replies_replayed_total", tally.replayed)
    yield Sample("holdfast_replies_joined_total", tally.joined)
    yield Sample("holdfast_mailbox_waiting", tally.mailbox_waiting)
    yield Sample("holdfast_mailbox_wait_seconds", tally.mailbox_waits.copy())


def _commits(node: Node) -> Iterator[Sample]:
    committer, tally = node.committer, node.committer.tally
    yield Sample("holdfast_commit_batches_total", committer.submitted)
    yield Sample("holdfast_commit_pending", committer.submitted - committer.synced)
    yield Sample("holdfast_commit_group_batches", tally.groups.copy())
    yield Sample("holdfast_commit_duration_seconds", tally.latencies.copy())
    yield Sample("holdfast_sync_duration_seconds", tally.syncs.copy())
    yield Sample("holdfast_gate_wait_seconds", Summary(tally.gated, tally.gate_s))
    yield Sample("holdfast_store_available", int(not committer.failed))
    yield Sample("holdfast_store_failures_total", node.tally.store_failures)
    yield Sample("holdfast_store_epoch", committer.epoch)


def _events(node: Node) -> Iterator[Sample]:
    tally, audiences, links = node.tally, node.audiences, node.links
    yield Sample("holdfast_events_total", tally.events)
    yield Sample("holdfast_events_ephemeral_total", tally.events_ephemeral)
    yield Sample("holdfast_events_trimmed_total", tally.events_trimmed)
    yield Sample("holdfast_events_dropped_total", audiences.dropped)
    yield Sample("holdfast_events_conflated_total", audiences.conflated)
    yield Sample("holdfast_subscriptions_ended_total", audiences.ended)
    yield Sample("holdfast_subscribers", audiences.subscribers)
    yield Sample("holdfast_audiences", len(audiences))
    yield Sample("holdfast_connections", len(links) - links.waiting, ("attached",))
    yield Sample("holdfast_connections", links.waiting, ("waiting",))


def _timers_and_sends(node: Node) -> Iterator[Sample]:
    tally, timers, outbox = node.tally, node.timers, node.outbox
    try:
        overdue_s = timers.overdue_s()
    except HoldfastError:
        # The store cannot be read: nothing fires, and another metric says so.
        overdue_s = 0.0
    yield Sample("holdfast_timers_due", timers.due)
    yield Sample("holdfast_timers_in_flight", timers.in_flight)
    yield Sample("holdfast_timers_overdue_seconds", overdue_s)
    yield Sample("holdfast_timer_delay_seconds", tally.timer_delays.copy())
    yield Sample("holdfast_timers_failed_total", tally.timers_failed)
    yield Sample("holdfast_timers_given_up_total", tally.timers_given_up)
    yield Sample("holdfast_sends_total", tally.sends)
    yield Sample("holdfast_sends_failed_total", tally.sends_failed)
    yield Sample("holdfast_sends_dead_total", tally.sends_dead)
    yield Sample("holdfast_outbox_lanes", outbox.working, ("working",))
    yield Sample("holdfast_outbox_lanes", outbox.backing_off, ("backing_off",))
