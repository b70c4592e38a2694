"""Builds of the server: the sound one, and ones that break a promise on purpose.

A test that passes against a broken build has seen nothing. Each build here is
the product with one thing changed: a store wrapped so that the runtime is not
given what it relies on, or a class of the runtime with one method changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from holdfast_server.core.event_log import place_of
from holdfast_server.core.events import Cursor
from holdfast_server.runtime import audience, node
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.committer import Committer
from holdfast_server.store import keys
from holdfast_server.store.api import PUT, Batch, Store
from tests.crash.stores import Wrapped, is_started_row


class UnsyncedStore(Wrapped):
    """Says that it has synced, and has not."""

    def sync(self) -> None:
        pass


class HidingStore(Wrapped):
    """Never finds the rows of one kind."""

    def __init__(self, inner: Store, kind: keys.Kind) -> None:
        super().__init__(inner)
        self._prefix = keys.kind_range(kind)[0]

    def get(self, key: bytes) -> bytes | None:
        return None if key.startswith(self._prefix) else self.inner.get(key)

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        if start.startswith(self._prefix):
            return []
        return self.inner.scan(start, end, limit=limit, reverse=reverse)


class TornStore(Wrapped):
    """Writes the states of a batch before the rest."""

    def write(self, batch: Batch, epoch: int) -> None:
        prefix = keys.kind_range(keys.Kind.STATE)[0]
        for states in (True, False):
            part = Batch()
            part.ops = [op for op in batch.ops if op[1].startswith(prefix) is states]
            self.inner.write(part, epoch)


class UnstartedStore(Wrapped):
    """Forgets that a turn has committed in its middle."""

    def write(self, batch: Batch, epoch: int) -> None:
        batch.ops = [
            (op, key, value)
            for op, key, value in batch.ops
            if op != PUT or not is_started_row(key, value)
        ]
        self.inner.write(batch, epoch)


class ForgettingTimersStore(Wrapped):
    """Loses the row of every third timer, by which it would be found when it is due."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._count = 0

    def write(self, batch: Batch, epoch: int) -> None:
        batch.ops = [op for op in batch.ops if not self._loses(op)]
        self.inner.write(batch, epoch)

    def _loses(self, op: tuple[int, bytes, bytes]) -> bool:
        if op[0] != PUT or keys.Kind(int.from_bytes(op[1][:2])) is not keys.Kind.TIMER:
            return False
        self._count += 1
        return self._count % 3 == 0


class DoublingStore(Wrapped):
    """Stores a send twice, under its own number and the next."""

    def write(self, batch: Batch, epoch: int) -> None:
        sends = {
            key: value
            for op, key, value in batch.ops
            if op == PUT and keys.Kind(int.from_bytes(key[:2])) is keys.Kind.OUTBOX
        }
        for key, value in sends.items():
            sender, scope, number = keys.parse_send_key(key)
            following = keys.outbox_key(sender, scope, number + 1)
            if following not in sends:
                batch.put(following, value)
        self.inner.write(batch, epoch)


class UnfencedStore(Wrapped):
    """Has one epoch for ever, and takes every writer's for its own."""

    @property
    def epoch(self) -> int:
        return 1

    def write(self, batch: Batch, epoch: int) -> None:
        self.inner.write(batch, self.inner.epoch)

    def reopen(self) -> int:
        self.inner.reopen()
        return self.epoch


class UngatedCommitter(Committer):
    """Releases when it is handed a batch instead of when the batch is durable."""

    def submit(self, batch: Batch, epoch: int, release: Any, **options: Any) -> int:
        number = super().submit(batch, epoch, None, **options)
        if release is not None:
            release(None)
        return number


def place_after_next(start: Any, *more: Any) -> int:
    """Where a reader that gives back its cursor goes on: one event too late."""
    return place_of(start, *more) + isinstance(start, Cursor)


class Build(NamedTuple):
    """How a build differs from the product."""

    # What wraps the store of each server.
    wrap: Callable[[Store], Store] = lambda store: store
    # Attributes of the product: the owner, the name, what stands there instead.
    changes: tuple[tuple[Any, str, Any], ...] = ()

    @contextmanager
    def built(self) -> Iterator[Callable[[Store], Store]]:
        """The product is this build, within the block; gives what wraps stores."""
        with ExitStack() as undo:
            for owner, name, value in self.changes:
                undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
            yield self.wrap


BUILDS: dict[str, Build] = {
    "sound": Build(),
    "unsynced": Build(UnsyncedStore),
    "ungated": Build(changes=((node, "Committer", UngatedCommitter),)),
    "forgetful": Build(lambda store: HidingStore(store, keys.Kind.REPLY)),
    "unmarked": Build(lambda store: HidingStore(store, keys.Kind.INBOX)),
    "torn": Build(TornStore),
    "unstarted": Build(UnstartedStore),
    "untimed": Build(ForgettingTimersStore),
    "doubled": Build(DoublingStore),
    "off_by_one": Build(changes=((audience, "place_of", place_after_next),)),
    # What an activation believes of itself, before the store is asked.
    "unfenced": Build(UnfencedStore, ((Activation, "live", property(lambda _: True)),)),
}
