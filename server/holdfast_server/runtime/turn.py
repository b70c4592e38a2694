"""One turn: what it has done so far, kept apart until it commits.

A Turn collects effects: KV writes (seen by its own reads), sends, what it does to
connections, destruction; the state stays with the runner's instance. `take` turns
them into store writes. Nothing here touches the store but to read. A turn that has
ended refuses everything with `no_turn`; a read-only one refuses every change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import too_large
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import Cause, TraceContext
from holdfast_server.core.waits import Holder
from holdfast_server.runtime.agenda import Agenda
from holdfast_server.runtime.connections import Changes, Conn
from holdfast_server.runtime.kv import KvView
from holdfast_server.runtime.outlets import Outlet, Outputs
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.auth import Identity
    from holdfast_server.core.call import Call
    from holdfast_server.core.events import Emission
    from holdfast_server.core.ids import Address
    from holdfast_server.core.values import Durability, Value
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.event_log import Emissions
    from holdfast_server.runtime.fire import Fire
    from holdfast_server.runtime.runners.api import Instance


class ReplyWriter(Protocol):
    """Puts the reply of a keyed call into the batch of its turn."""

    def put_result(self, batch: Batch, value: Value, actor_id: bytes) -> None:
        """The call returned."""
        ...

    def put_error(self, batch: Batch, error: HoldfastError, actor_id: bytes) -> None:
        """The call raised a UserError."""
        ...

    def put_started(self, batch: Batch, actor_id: bytes) -> None:
        """The turn commits in its middle: it must never run again."""
        ...


class Turn:
    """Effects of one run of a handler, and its place in the graph of waits."""

    __slots__ = (
        "action",
        "activation",
        "actor_id",
        "admitted",
        "afters",
        "agenda_view",
        "auth",
        "cause",
        "changes",
        "committed",
        "conn",
        "creating",
        "deadline",
        "destroyed",
        "emissions",
        "emitted",
        "emitted_bytes",
        "encoded",
        "ended",
        "failure",
        "fire",
        "instance",
        "kv_view",
        "lanes",
        "mode",
        "outputs",
        "plain",
        "reply",
        "sends",
        "sent",
        "sleeps",
        "span",
        "streams",
        "targets",
        "task",
        "touched",
        "trace",
        "view",
    )

    def __init__(
        self,
        activation: Activation,
        mode: Mode,
        deadline: float | None,
        action: str,
        trace: TraceContext,
        cause: Cause = Cause.CALL,
    ) -> None:
        self.activation = activation
        self.mode = mode
        self.deadline = deadline
        # An action, or a name with "$" for what is none.
        self.action = action
        # What it comes from; what it passes on to the turns that it causes.
        self.trace, self.cause = trace, cause
        # The observer's own; None for a turn that nobody watches.
        self.span: object = None
        self.kv_view: KvView | None = None
        self.agenda_view: Agenda | None = None
        # Who asked for it from outside; the fire that it is.
        self.auth: Identity | None = None
        self.fire: Fire | None = None
        self.sends: list[records.SendRecord] | None = None
        # Lanes of the outbox to wake after the commit; the row this turn delivers.
        self.lanes: list[tuple[bytes, bytes]] | None = None
        self.sent: tuple[bytes, int] | None = None
        # What it wants to emit, and its bytes; then, numbered, what its commit emits.
        self.emissions: list[Emission] | None = None
        self.emitted_bytes = 0
        self.emitted: Emissions | None = None
        # What it has for clients that read at their own pace.
        self.outputs: Outputs | None = None
        # What to do once the next commit is durable, and whether after its events have left.
        self.afters: list[tuple[bool, Callable[[], None]]] | None = None
        # The connection it is for, or the call that gets one when it asks; what it does
        # to connections.
        self.conn: Conn | Call | None = None
        self.changes: Changes | None = None
        # Whether the actor ends with it, or goes to sleep after it; whether it is over; whether
        # c.commit() has run, a point of no return; whether it makes the actor.
        self.destroyed = self.sleeps = self.ended = self.committed = self.creating = False
        # Activations that this turn's outgoing calls wait for.
        self.targets: list[Activation] | None = None
        # Set while it waits in the mailbox.
        self.admitted: asyncio.Future[None] | None = None
        # Where the reply of a keyed call goes; whether the replies are items of a stream.
        self.reply: ReplyWriter | None = None
        self.streams = False
        # Whom it runs on, set when its handler is entered.
        self.actor_id = b""
        self.instance: Instance | None = None
        # The commit of what a failed turn leaves.
        self.failure: asyncio.Future[Durability] | None = None
        # The runner's own: the task its handler runs in, whether that cannot wait,
        # whether it used the state, the object it got, the encoding to commit.
        self.task: object = None
        self.plain = self.touched = False
        self.view: object = None
        self.encoded: bytes | None = None

    def begin(
        self,
        instance: Instance | None,
        actor_id: bytes,
        reply: ReplyWriter | None = None,
        sent: tuple[bytes, int] | None = None,
    ) -> None:
        """The handler is about to be entered."""
        assert instance is not None
        self.instance, self.actor_id, self.reply, self.sent = instance, actor_id, reply, sent

    @property
    def address(self) -> Address:
        return self.activation.address

    # The graph of waits

    @property
    def label(self) -> str:
        return str(self.activation.address)

    def waits_for(self) -> Iterable[Holder]:
        for target in self.targets or ():
            yield from target.holders

    def call_begins(self, target: Activation) -> None:
        """This turn waits for a call to `target`."""
        if self.targets is None:
            self.targets = []
        self.targets.append(target)

    def call_ended(self, target: Activation) -> None:
        assert self.targets is not None
        self.targets.remove(target)

    # What it may do

    def check_change(self) -> None:
        """Raise unless this turn may change something."""
        if self.ended:
            raise HoldfastError(errors.NO_TURN)
        if self.mode is Mode.READ_ONLY:
            raise HoldfastError(errors.READ_ONLY)

    def check_read(self) -> None:
        if self.ended:
            raise HoldfastError(errors.NO_TURN)

    @property
    def kv(self) -> KvView:
        """The KV as this turn sees it, for reading."""
        self.check_read()
        if self.kv_view is None:
            self.kv_view = KvView(self.activation, self.actor_id)
        return self.kv_view

    def changing_kv(self) -> KvView:
        """The KV as this turn sees it, for changing."""
        self.check_change()
        return self.kv

    @property
    def agenda(self) -> Agenda:
        """The actor's schedules as this turn sees them, for reading."""
        self.check_read()
        return self._agenda()

    def changing_agenda(self) -> Agenda:
        """The actor's schedules as this turn sees them, for changing."""
        self.check_change()
        return self._agenda()

    def expire_at(self, due_ms: int) -> Agenda:
        """Something of the actor, or all of it, expires then."""
        agenda = self._agenda()
        agenda.sweep_at(due_ms)
        return agenda

    def _agenda(self) -> Agenda:
        if self.agenda_view is None:
            limits = self.activation.node.limits
            self.agenda_view = Agenda(self.activation, limits, self.actor_id, self.fire)
        return self.agenda_view

    def send(self, record: records.SendRecord) -> None:
        """Tell another actor something with the commit."""
        self.check_change()
        if self.sends is None:
            self.sends = []
        self.sends.append(record)

    def emit(self, emission: Emission) -> None:
        """Tell subscribers with the commit; read-only turns emit ephemeral events only."""
        if emission.ephemeral:
            self.check_read()
        else:
            self.check_change()
        limits, emissions = self.activation.node.limits, self.emissions or []
        size, count = emission.size, len(emissions) + 1
        if size > limits.event_bytes_max:
            raise too_large(f"event of {size} bytes", limits.event_bytes_max, size)
        if count > limits.turn_events_max:
            raise too_large(f"{count} events of one turn", limits.turn_events_max, count)
        size += self.emitted_bytes
        if size > limits.turn_bytes_max:
            raise too_large(f"{size} bytes of events of one turn", limits.turn_bytes_max, size)
        self.emitted_bytes = size
        emissions.append(emission)
        self.emissions = emissions

    def output(self, outlet: Outlet[Any], item: object, size: int) -> None:
        """Give a client something with the commit. It is no change of the actor, so that
        read-only turns may do it too."""
        self.check_read()
        outputs, limit = self.outputs or Outputs(), self.activation.node.limits.turn_bytes_max
        if outputs.size + size > limit:
            raise HoldfastError(
                errors.MESSAGE_OUTGOING_TOO_LONG,
                f"{outputs.size + size} bytes for clients in one turn; at most {limit}",
                metadata={"limit": str(limit), "size": str(outputs.size + size)},
            )
        outputs.add(outlet, item, size)
        self.outputs = outputs

    @property
    def connections(self) -> Changes:
        """The connections as this turn sees them."""
        self.check_read()
        if self.changes is None:
            self.changes = Changes(self)
        return self.changes

    def after(self, act: Callable[[], None], *, late: bool = False) -> None:
        """Do something when what was collected so far is durable, and never if it fails:
        before its events leave, or `late`, after them."""
        if self.afters is None:
            self.afters = []
        self.afters.append((late, act))

    # Effects as writes

    @property
    def leaves_more(self) -> bool:
        """Whether more than an answer leaves with what `take` has taken, or an observer
        wants to hear of it."""
        return (
            self.lanes is not None
            or self.emitted is not None
            or self.afters is not None
            or self.span is not None
        )

    def take(self, batch: Batch, *, buffered: bool = False) -> None:
        """Add everything collected since the last commit to a batch; then empty again,
        but for what is refused: all of it stays, for a handler that goes on."""
        emissions, node = self.emissions, self.activation.node
        if not (
            emissions
            or self.kv_view
            or self.agenda_view
            or self.sends
            or self.changes
            or self.outputs
            or self.fire
        ):
            return
        if emissions:
            # What may be refused of a stored log is refused before anything is taken.
            node.event_logs.of(self.activation)
        if self.kv_view is not None:
            self.kv_view.take(batch)
        agenda = self._taken_agenda(batch)
        if self.sends:
            lanes = node.outbox.store(self.actor_id, self.sends, batch)
            self.sends = None
            self.lanes = [*(self.lanes or ()), *lanes]
        if emissions:
            self.emissions, self.emitted_bytes = None, 0
            self.emitted = node.event_logs.append(
                self.activation, emissions, batch, buffered=buffered
            )
        if self.changes is not None:
            self.changes.take(batch)
        if self.outputs is not None:
            outputs, self.outputs = self.outputs, None
            self.after(outputs.submit())
        if self.kv_view is not None:
            self.kv_view.clear()
        if agenda is not None:
            agenda.clear()

    def _taken_agenda(self, batch: Batch) -> Agenda | None:
        """The schedules as writes; none where the actor goes, and its schedules with it."""
        if self.destroyed:
            return None
        fires = self.fire is not None and not self.fire.started
        if fires and self.agenda_view is None:
            self._agenda()
        agenda = self.agenda_view
        expires_ms = self.kv_view.expires_ms if self.kv_view is not None else None
        if expires_ms is not None:
            agenda = self.expire_at(expires_ms)
        if agenda is None:
            return None
        agenda.take(batch)
        due_ms = agenda.earliest_ms
        if due_ms is not None:
            timers = self.activation.node.timers
            timers.wrote()
            self.after(partial(timers.wake, due_ms))
        return agenda
