"""What an actor does and why, for whoever looks after it.

It is looked at as it is: nothing wakes it, nothing waits for it, for its mailbox or for
the disk, since it may be one of these that is stuck.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.core.lifecycle import State
from holdfast_server.core.standing import Phase
from holdfast_server.runtime.agenda import Agenda
from holdfast_server.runtime.expiry import lapsed
from holdfast_server.runtime.turn import Turn
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.call import Target
    from holdfast_server.runtime.activation import Activation, Failed
    from holdfast_server.runtime.audience import Subscriber
    from holdfast_server.runtime.node import Node

# Members of each list; what is beyond is counted.
SHOWN_MAX: Final = 100


class ActorPhase(IntEnum):
    """Where an actor is in its life; proto numbers."""

    ASLEEP = 1
    STARTING = 2
    AWAKE = 3
    SLEEPING = 4
    DESTROYING = 5


class AwakeReason(IntEnum):
    """Why an actor does not sleep; proto numbers."""

    CALLS = 1
    BACKGROUND = 2
    CONNECTIONS = 3
    NO_SLEEP = 4
    IDLE = 5


class TurnState(NamedTuple):
    """A turn that has its actor or waits for it."""

    action: str
    mode: str
    cause: str
    waits_for: list[Address]


class SubscriberState(NamedTuple):
    """Someone who listens."""

    names: list[str]
    sequence: int
    lag: int
    phase: str
    credit: int


@dataclass(slots=True)
class Explanation:
    """What is known of an actor; the fields are those of ExplainResponse."""

    address: Address
    actor_id: bytes
    created_at_ms: int
    phase: ActorPhase
    epoch: int
    awake: list[tuple[AwakeReason, int]] = field(default_factory=list)
    sleeps_at_ms: int | None = None
    calls: int = 0
    running: list[TurnState] = field(default_factory=list)
    waiting: list[TurnState] = field(default_factory=list)
    waiting_count: int = 0
    waiting_max: int = 0
    work: dict[str, int] = field(default_factory=dict)
    schedules: int = 0
    next_timer_ms: int | None = None
    last_failure: Failed | None = None
    last_commit_ms: int | None = None
    last_commit_synced: bool = True
    last_sequence: int = 0
    subscribers: list[SubscriberState] = field(default_factory=list)
    subscriber_count: int = 0
    connections_attached: int = 0
    connections_waiting: int = 0
    state_bytes: int = 0
    kv_bytes: int = 0
    event_bytes: int = 0
    undelivered_sends: int = 0


def explain(node: Node, target: Target) -> Explanation:
    """What is known of an actor; ACTOR_NOT_FOUND when there is none."""
    address = node.catalog.address_of(target)
    activation = node.find_scope(scope_of(address))
    starting = activation is not None and activation.start is not None
    actor_id = node.read(keys.directory_key(address)) or b""
    record = node.decode(records.ActorRecord, keys.actor_key(actor_id)) if actor_id else None
    gone = record is None or lapsed(node, actor_id, address.name)
    foreign = target.actor_id is not None and target.actor_id != actor_id
    if foreign or (gone and not starting):
        raise HoldfastError(errors.ACTOR_NOT_FOUND)
    found = Explanation(
        address=address,
        actor_id=actor_id,
        created_at_ms=0 if record is None else record.created_at_ms,
        phase=ActorPhase.ASLEEP,
        epoch=node.committer.epoch,
        waiting_max=node.runner.info(address.name).bounds.waiting,
    )
    if activation is not None:
        _memory(node, activation, found)
    if actor_id:
        _rows(node, actor_id, found)
        _listeners(node, actor_id, found)
    return found


def _memory(node: Node, activation: Activation, found: Explanation) -> None:
    found.phase = _phase(activation)
    found.calls = activation.users
    mailbox, background = activation.mailbox, activation.background
    found.running = _turns(activation.holders)
    waiting = mailbox.waiting or ()
    found.waiting = _turns(turn for turn, _ in waiting)
    found.waiting_count = len(waiting)
    if background is not None:
        for work in background.tasks.values():
            found.work[work.value] = found.work.get(work.value, 0) + 1
    found.last_failure = activation.last_failure
    wall_ms, now = node.environment.clock.now_ms(), node.loop.time()
    if activation.committed_at is not None:
        found.last_commit_ms = wall_ms - int((now - activation.committed_at) * 1000)
        found.last_commit_synced = activation.last_commit <= node.committer.synced
    if found.phase is not ActorPhase.AWAKE:
        return
    found.awake = _awake(node, activation)
    if found.awake == [(AwakeReason.IDLE, 0)]:
        left_s = activation.last_used + activation.info.sleep_timeout_s - now
        found.sleeps_at_ms = wall_ms + int(max(0.0, left_s) * 1000)


def _phase(activation: Activation) -> ActorPhase:
    background = activation.background
    if activation.start is not None:
        return ActorPhase.STARTING
    if background is not None and background.state is State.SLEEPING:
        return ActorPhase.SLEEPING
    if background is not None and background.state is State.DESTROYING:
        return ActorPhase.DESTROYING
    return ActorPhase.ASLEEP if activation.instance is None else ActorPhase.AWAKE


def _awake(node: Node, activation: Activation) -> list[tuple[AwakeReason, int]]:
    causes = []
    background, info = activation.background, activation.info
    if activation.users:
        causes.append((AwakeReason.CALLS, activation.users))
    if background is not None and background.keeping:
        causes.append((AwakeReason.BACKGROUND, background.keeping))
    if not info.hibernate_connections:
        attached = node.links.attached(activation.actor_id)
        if attached:
            causes.append((AwakeReason.CONNECTIONS, attached))
    if info.no_sleep:
        causes.append((AwakeReason.NO_SLEEP, 0))
    return causes or [(AwakeReason.IDLE, 0)]


def _turns(turns: Iterable[Turn]) -> list[TurnState]:
    return [
        TurnState(
            turn.action,
            turn.mode.name.lower(),
            turn.cause.value,
            [each.address for each in turn.targets or ()],
        )
        for turn in islice(turns, SHOWN_MAX)
    ]


def _rows(node: Node, actor_id: bytes, found: Explanation) -> None:
    """What is stored of it, as of the last submitted batch."""
    state = node.decode(records.StateRecord, keys.state_key(actor_id))
    found.state_bytes = 0 if state is None else len(state.data)
    found.kv_bytes = int.from_bytes(node.read(keys.kv_usage_key(actor_id)) or b"")
    sums = node.event_logs.find(actor_id)
    found.last_sequence, found.event_bytes = sums.last, sums.bytes
    schedules = Agenda(node.schedules.rows, node.limits, actor_id).list()
    found.schedules = len(schedules)
    due = [schedule.due_ms for schedule in schedules if schedule.due_ms]
    found.next_timer_ms = min(due, default=None)
    prefix = keys.outbox_prefix(actor_id)
    end = keys.prefix_end(prefix)
    found.undelivered_sends = len(node.scan(prefix, end, limit=SHOWN_MAX, reverse=False))


def _listeners(node: Node, actor_id: bytes, found: Explanation) -> None:
    audience = node.audiences.find(actor_id)
    if audience is not None:
        published = audience.published
        found.subscriber_count = len(audience.subscribers)
        slowest = sorted(audience.subscribers, key=lambda each: each.sequence)
        found.subscribers = [_subscriber(each, published) for each in slowest[:SHOWN_MAX]]
    attached, links = node.links.attached(actor_id), node.links.count(actor_id)
    found.connections_attached, found.connections_waiting = attached, links - attached


def _subscriber(subscriber: Subscriber, published: int) -> SubscriberState:
    phase = Phase(subscriber.phase).name.lower()
    lag = max(0, published - subscriber.sequence)
    names = sorted(subscriber.names)
    return SubscriberState(names, subscriber.sequence, lag, phase, subscriber.credit)
