"""Builds of the server: the sound one, and ones that break a promise on purpose.

A test that passes against a broken build has seen nothing. Each build here is
the product with one thing changed: a store wrapped so that the runtime is not
given what it relies on, or a class of the runtime with one method changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast_server.runtime import node
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


def _ungated(store: Store) -> Store:
    vars(node)["Committer"] = UngatedCommitter
    return store


def _unfenced(store: Store) -> Store:
    # What an activation believes of itself, before the store is asked.
    activations: Any = Activation
    activations.live = property(lambda activation: True)
    return UnfencedStore(store)


BUILDS: dict[str, Callable[[Store], Store]] = {
    "sound": lambda store: store,
    "unsynced": UnsyncedStore,
    "ungated": _ungated,
    "forgetful": lambda store: HidingStore(store, keys.Kind.REPLY),
    "unmarked": lambda store: HidingStore(store, keys.Kind.INBOX),
    "torn": TornStore,
    "unstarted": UnstartedStore,
    "unfenced": _unfenced,
}
