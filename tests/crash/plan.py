"""What a test server is told: its directory, its build, and where it dies.

A point is a stage of a commit and the kind of batch that is in it: "the third
time that a batch with a delivered send was synced and nothing was released".
Plans travel to the server process as JSON on its command line.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """How far a commit has come."""

    # Handed over by the runtime; nothing is written.
    BEFORE_WRITE = "before_write"
    # In the write-ahead log, not synced.
    AFTER_WRITE = "after_write"
    # As before, seen from the committer thread while the loop goes on.
    BEFORE_SYNC = "before_sync"
    # The sync never ends while the loop goes on; the test kills the server.
    HELD_SYNC = "held_sync"
    # Synced; nothing was released.
    AFTER_SYNC = "after_sync"


class Kind(StrEnum):
    """What a batch holds among other things."""

    ANY = "any"
    STATE = "state"
    # A send, before its delivery.
    SEND = "send"
    # The effect of a send with its watermark, before the sender's row is deleted.
    DELIVERY = "delivery"
    # The deletion of a delivered send.
    SETTLE = "settle"
    # The first commit in the middle of a keyed turn.
    STARTED = "started"
    # A timer that is set, and one that fires: its effect is in the same batch.
    TIMER = "timer"
    FIRE = "fire"
    CREATE = "create"
    DESTROY = "destroy"


class Point(msgspec.Struct, frozen=True):
    """Where a server dies: the `count`-th time that it is there."""

    stage: Stage
    kind: Kind = Kind.ANY
    count: int = 1

    def __str__(self) -> str:
        return f"{self.kind}-{self.stage}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One server process."""

    data: str
    # 0 for any free port.
    port: int = 0
    point: Point | None = None
    # Name of a build in `builds.py`.
    build: str = "sound"
    # Record how much of the log is synced, so that a power cut can be played.
    power: bool = False
    # Small buffers make RocksDB flush and change its log under the load.
    write_buffer_bytes: int = 32 << 20
    # Whether `Ledger.perish` kills the process.
    deadly: bool = False
    # Whether a sync fails on the test's command.
    faults: bool = False
    # Sends of one actor that may wait.
    outbox_rows_max: int = 10_000

    @property
    def synced_path(self) -> str:
        return f"{self.data}.synced"

    def at(self, point: Point | None, *, port: int = 0) -> Plan:
        """The plan of one process of several over the same data."""
        return msgspec.structs.replace(self, point=point, port=port)
