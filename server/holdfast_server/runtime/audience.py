"""Who listens to an actor, and how its events reach them.

An audience belongs to an actor id, not to an activation: it outlives the sleep of its
actor. `published` is the last event that was released by its commit; nothing beyond it
is delivered, also where the store already has it. A subscriber that is not ready for an
event reads it from the log later, so that no event waits in memory for a slow reader.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.event_log import place_of, stale, too_slow, trimmed
from holdfast_server.core.events import Cursor, Delivery, Emitted, SlowReader, Subscribe
from holdfast_server.core.standing import Phase, Standing
from holdfast_server.runtime.pages import Pages
from holdfast_server.store import keys

if TYPE_CHECKING:
    from holdfast_server.runtime.event_log import Emissions
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.readers import Reader

log = logging.getLogger("holdfast.events")

# Rows that are looked through at once for where to resume.
_PAGE = 128


class Subscriber(Standing):
    """A Subscription of one actor."""

    __slots__ = ("_audience", "_pumped", "connection", "reader", "refusal")

    def __init__(
        self, audience: Audience, request: Subscribe, reader: Reader, credit: int, sequence: int
    ) -> None:
        super().__init__(
            request.names,
            request.encoding,
            credit,
            sequence,
            conflates=request.slow_reader is SlowReader.CONFLATE,
        )
        self._audience = audience
        self._pumped = False
        # Why it ended before it was started.
        self.refusal: HoldfastError | None = None
        self.connection = request.connection
        self.reader = reader

    @property
    def cursor(self) -> Cursor:
        audience = self._audience
        return Cursor(audience.actor_id, audience.incarnation, self.told)

    async def start(self) -> None:
        """Begin, once everything that it may be told is durable; events come to the
        reader from the next tick on. Raises what it ended with meanwhile."""
        await self._audience.node.committer.barrier()
        if self.refusal is not None:
            raise self.refusal
        self.begin()

    def begin(self) -> None:
        """Begin now: whatever was submitted before it was attached is durable."""
        if self.phase is Phase.STARTING:
            self.enter(Phase.BEHIND)
            self._audience.catch_up(self)

    def grant(self, count: int) -> None:
        self.credit += count
        if self.phase is Phase.LIVE:
            self.update()
        if not self.ready and self.credit > 0:
            self.pump_soon()

    def close(self) -> None:
        if self.phase is not Phase.ENDED:
            self.enter(Phase.ENDED)
            self._audience.remove(self)

    def end(self, error: HoldfastError) -> None:
        """It is over, and its reader hears why."""
        self._audience.end(self, error)

    def pump_soon(self) -> None:
        """Go on with what waits for this subscriber in the next tick."""
        if not self._pumped:
            self._pumped = True
            self._audience.node.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumped = False
        try:
            if self.phase is Phase.BEHIND:
                self._audience.read_on(self)
            elif self.phase is Phase.LIVE:
                self._audience.drain(self)
        except HoldfastError as error:
            if error.reason is not errors.STORE_UNAVAILABLE:
                self._audience.end(self, error)
            # Else it goes on once the store is open again.


class Audience:
    """The subscribers of one actor."""

    __slots__ = (
        "actor_id",
        "by_connection",
        "incarnation",
        "node",
        "published",
        "subscribers",
    )

    def __init__(self, node: Node, actor_id: bytes, incarnation: int, published: int) -> None:
        self.node = node
        self.actor_id = actor_id
        self.incarnation = incarnation
        self.published = published
        self.subscribers: dict[Subscriber, None] = {}
        # Those of connections, which may end before their actor does.
        self.by_connection: dict[bytes, set[Subscriber]] = {}

    # Coming and going

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers[subscriber] = None
        self.node.audiences.subscribers += 1
        if subscriber.connection is not None:
            self.by_connection.setdefault(subscriber.connection, set()).add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        if subscriber in self.subscribers:
            del self.subscribers[subscriber]
            self.node.audiences.subscribers -= 1
        if subscriber.connection is not None:
            alike = self.by_connection.get(subscriber.connection, set())
            alike.discard(subscriber)
            if not alike:
                self.by_connection.pop(subscriber.connection, None)
        if not self.subscribers:
            self.node.audiences.forget(self)

    def end(self, subscriber: Subscriber, error: HoldfastError) -> None:
        """Tell a subscriber that it is over."""
        if subscriber.phase is Phase.ENDED:
            return
        starting = subscriber.phase is Phase.STARTING
        subscriber.close()
        if starting:
            subscriber.refusal = error
            return
        self.node.audiences.ended += 1
        try:
            subscriber.reader.ended(subscriber, error)
        except Exception:
            log.exception("the end of a subscription")

    def close(self, error: HoldfastError) -> None:
        for subscriber in list(self.subscribers):
            self.end(subscriber, error)

    # Live

    def publish(self, events: list[Emitted]) -> None:
        """Events of one turn that may be told, in order."""
        for event in events:
            if not event.sequence:
                self._publish(event)
            elif event.sequence > self.published:
                self.published = event.sequence
                self._publish(event)

    def _publish(self, event: Emitted) -> None:
        """One pass over all subscribers: those that stand alike share one delivery."""
        name, sequence = event.name, event.sequence
        delivery: Delivery | None = None
        encoding = previous = -1
        size = 0
        for subscriber in list(self.subscribers):
            names = subscriber.names
            if not subscriber.ready or (names and name not in names):
                self._hold_back(subscriber, event)
                continue
            stands = subscriber.told if sequence else 0
            if delivery is None or stands != previous or subscriber.encoding != encoding:
                previous, encoding = stands, subscriber.encoding
                delivery = self._delivery_of(subscriber, event)
                if delivery is None:
                    continue
                size = delivery.event.size
            if sequence:
                subscriber.sequence = subscriber.told = sequence
                subscriber.passed = 0
            subscriber.credit -= size
            if subscriber.credit <= 0:
                subscriber.ready = False
            try:
                subscriber.reader.deliver(subscriber, delivery)
            except Exception:
                log.exception("delivering an event")
                subscriber.close()

    def _delivery_of(self, subscriber: Subscriber, event: Emitted) -> Delivery | None:
        """The event for this subscriber and all that stand alike; one that cannot have it
        in its encoding is ended."""
        previous = subscriber.told if event.sequence else 0
        try:
            return event.delivered(previous, subscriber.encoding, self.node.runner.transcode)
        except HoldfastError as error:
            self.end(subscriber, error)
            return None

    def _hold_back(self, subscriber: Subscriber, event: Emitted) -> None:
        """An event for a subscriber that does not want it, or is not ready for it."""
        audiences, sequence = self.node.audiences, event.sequence
        phase, wanted = subscriber.phase, subscriber.wants(event.name)
        if phase is Phase.LIVE:
            if wanted and subscriber.conflates:
                self._spare(subscriber, event)
            elif wanted and sequence:
                subscriber.enter(Phase.BEHIND)
            elif wanted:
                audiences.dropped += 1
            elif sequence:
                self._pass_by(subscriber, sequence)
        elif wanted and not sequence and phase is not Phase.ENDED:
            audiences.dropped += 1
        if subscriber.phase is not Phase.BEHIND or subscriber.conflates or subscriber.credit > 0:
            return
        lag, limit = self.published - subscriber.sequence, self.node.limits.subscription_lag_max
        if lag > limit:
            self.end(subscriber, too_slow(subscriber.cursor, lag, limit))

    def _pass_by(self, subscriber: Subscriber, sequence: int) -> None:
        if subscriber.pass_by(sequence):
            try:
                subscriber.reader.moved(subscriber)
            except Exception:
                log.exception("moving a subscription")
                subscriber.close()

    def _spare(self, subscriber: Subscriber, event: Emitted) -> None:
        limits = self.node.limits
        self.node.audiences.conflated += subscriber.spare(
            event, names_max=limits.event_names_max, bytes_max=limits.events_bytes_max
        )

    def drain(self, subscriber: Subscriber) -> None:
        """Deliver what waits for one that conflates, as far as its credit goes."""
        while (waiting := subscriber.next_waiting()) is not None:
            self._deliver(subscriber, waiting)
            if subscriber.phase is Phase.ENDED:
                return
        subscriber.update()

    # From the log

    def resume(self, published: int) -> None:
        """Everything through `published` may be told."""
        self.published = published
        for subscriber in list(self.subscribers):
            if subscriber.phase is not Phase.STARTING and subscriber.sequence < published:
                subscriber.enter(Phase.BEHIND)
            if subscriber.phase is Phase.BEHIND:
                self.catch_up(subscriber)

    def catch_up(self, subscriber: Subscriber) -> None:
        """Make a subscriber live if it has read everything, else let it read on."""
        if subscriber.sequence >= self.published:
            subscriber.enter(Phase.LIVE)
            if subscriber.waiting:
                subscriber.pump_soon()
        elif subscriber.credit > 0 or subscriber.conflates:
            subscriber.pump_soon()

    def read_on(self, subscriber: Subscriber) -> None:
        """Deliver some of what the log has for a subscriber that is behind."""
        now_ms = self.node.environment.clock.now_ms()
        if subscriber.credit <= 0 and not subscriber.conflates:
            return
        page = self.node.audiences.pages.read(
            self.actor_id, subscriber.sequence + 1, self.published
        )
        following = page[0].event.sequence if page else self.published + 1
        if following > subscriber.sequence + 1 and not self._pass_gap(subscriber, following):
            return
        for event, expires_ms in page:
            if subscriber.credit <= 0 and not subscriber.conflates:
                return
            if not subscriber.wants(event.name):
                self._pass_by(subscriber, event.sequence)
            elif expires_ms <= now_ms:
                if not self._skip(subscriber, event.sequence + 1):
                    return
            elif subscriber.conflates and (subscriber.credit <= 0 or subscriber.waiting):
                self._spare(subscriber, event)
            else:
                self._deliver(subscriber, event)
            if subscriber.phase is not Phase.BEHIND:
                return
        self.catch_up(subscriber)

    def _deliver(self, subscriber: Subscriber, event: Emitted) -> None:
        delivery = self._delivery_of(subscriber, event)
        if delivery is None:
            return
        if subscriber.conflates and (spared := subscriber.take_spared()):
            delivery = delivery._replace(conflated=spared)
        subscriber.advance(delivery.event)
        try:
            subscriber.reader.deliver(subscriber, delivery)
        except Exception:
            log.exception("delivering an event")
            subscriber.close()

    def _pass_gap(self, subscriber: Subscriber, following: int) -> bool:
        """The log has nothing before `following`; whether the subscriber goes on."""
        if subscriber.names:
            sums = self.node.event_logs.find(self.actor_id)
            if sums.last_trimmed(subscriber.names) <= subscriber.sequence:
                # What has gone was of other names.
                subscriber.sequence = following - 1
                return True
        return self._skip(subscriber, following)

    def _skip(self, subscriber: Subscriber, following: int) -> bool:
        """The events before `following` are no longer kept; whether it goes on."""
        if subscriber.conflates:
            subscriber.spared += following - 1 - subscriber.sequence
            subscriber.sequence = following - 1
            return True
        self.end(subscriber, trimmed(self.actor_id, self.incarnation, self._next_kept(subscriber)))
        return False

    def _next_kept(self, subscriber: Subscriber) -> int:
        """From where on every event that a subscriber wants is kept."""
        logs, now_ms = self.node.event_logs, self.node.environment.clock.now_ms()
        following, place = self.published + 1, subscriber.sequence + 1
        first = None
        while rows := logs.read(self.actor_id, place, self.published, _PAGE):
            place = rows[-1][0] + 1
            for sequence, record in rows:
                gone = subscriber.wants(record.name) and logs.expires_ms(record) <= now_ms
                if gone or first is None:
                    first = sequence + gone
        return following if first is None else first


class Audiences:
    """The audiences of one node's actors, and what is counted of them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._by_actor: dict[bytes, Audience] = {}
        self.pages = Pages(node)
        # Ephemeral events that a slow reader did not get, events that were left out for
        # later ones of their names, and subscriptions that the server ended.
        self.dropped = 0
        self.conflated = 0
        self.ended = 0
        # Those that there are.
        self.subscribers = 0

    def __len__(self) -> int:
        return len(self._by_actor)

    def attach(self, actor_id: bytes, request: Subscribe, reader: Reader) -> Subscriber:
        """Let a reader listen to an actor that exists, from the place it asks for.

        Nothing waits in here. The subscriber hears nothing until it is started; what is
        published meanwhile is not lost on it. It may not be allowed: ask before.
        """
        node = self._node
        sums = node.event_logs.find(actor_id)
        oldest = lost = 0
        if request.start is not None:
            oldest, lost = node.event_logs.oldest_and_lost(actor_id, sums, request.names)
        sequence = place_of(request.start, sums, actor_id, oldest, lost)
        audience = self._by_actor.get(actor_id)
        if audience is None:
            audience = Audience(node, actor_id, sums.incarnation, sums.last)
            self._by_actor[actor_id] = audience
        limit = node.limits.subscribers_max
        if len(audience.subscribers) >= limit:
            raise HoldfastError(
                errors.TOO_MANY_CONNECTIONS,
                f"the actor has {limit} subscribers already",
                metadata={"limit": str(limit)},
            )
        credit = request.window_bytes or node.limits.subscription_window_bytes
        subscriber = Subscriber(audience, request, reader, credit, sequence)
        audience.add(subscriber)
        return subscriber

    def find(self, actor_id: bytes) -> Audience | None:
        return self._by_actor.get(actor_id)

    def forget(self, audience: Audience) -> None:
        """Nobody listens to this actor any more."""
        if self._by_actor.get(audience.actor_id) is audience:
            del self._by_actor[audience.actor_id]

    def publish(self, actor_id: bytes, emitted: Emissions) -> None:
        """What a turn emitted may be told."""
        audience = self._by_actor.get(actor_id)
        if audience is None:
            return
        if emitted.incarnation and emitted.incarnation != audience.incarnation:
            first = next(event.sequence for event in emitted.events if event.sequence)
            audience.close(stale(actor_id, emitted.incarnation, first))
            return
        try:
            audience.publish(emitted.events)
        except Exception:
            # The commits released after this one must not miss their own.
            log.exception("publishing events")
            audience.close(HoldfastError(errors.INTERNAL_ERROR))

    def close(self, actor_id: bytes, error: HoldfastError) -> None:
        """End all subscriptions of an actor."""
        audience = self._by_actor.get(actor_id)
        if audience is not None:
            audience.close(error)

    def disconnect(self, actor_id: bytes, connection: bytes, error: HoldfastError) -> None:
        """End the subscriptions of one connection."""
        audience = self._by_actor.get(actor_id)
        if audience is not None:
            for subscriber in list(audience.by_connection.get(connection, ())):
                subscriber.end(error)

    def shutdown(self, error: HoldfastError) -> None:
        """End all subscriptions."""
        for audience in list(self._by_actor.values()):
            audience.close(error)

    def restart(self) -> None:
        """The store was reopened: all that it holds now is durable, also what nobody was
        told, and it may have lost what left before it was synced."""
        node = self._node
        self.pages.clear()
        for audience in list(self._by_actor.values()):
            actor_id = audience.actor_id
            try:
                if node.read(keys.actor_key(actor_id)) is None:
                    audience.close(HoldfastError(errors.ACTOR_DESTROYED))
                    continue
                sums = node.event_logs.find(actor_id)
            except HoldfastError as error:
                audience.close(error)
                continue
            if sums.incarnation != audience.incarnation or sums.last < audience.published:
                oldest = node.event_logs.oldest(actor_id, sums)
                audience.close(stale(actor_id, sums.incarnation, oldest))
                continue
            audience.resume(sums.last)
