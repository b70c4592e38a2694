"""What is remembered of one actor key's idempotency keys, and what that decides.

Pure bookkeeping: the rows themselves are in the store. For each key it knows
that a reply is stored (and its size) or that the call is in flight; for each
SDK client the number below which everything was acknowledged. A number below
that floor is refused, never run. A full table refuses new keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from holdfast_server.core.call import CallKey, ClientKey


class Verdict(Enum):
    """What to do with a call that carries a key."""

    RUN = "run"
    JOIN = "join"
    REPLAY = "replay"
    EXPIRED = "expired"
    FULL = "full"


@dataclass(slots=True)
class ClientReplies:
    """One SDK client at one actor: its floor and its stored numbers with sizes."""

    floor: int = 0
    sizes: dict[int, int] = field(default_factory=dict)
    # When the sweep looks at this client's rows; 0 while no entry is stored.
    due_ms: int = 0


class ReplyTable:
    """Stored and running keys of one actor key."""

    __slots__ = ("bytes", "clients", "in_flight", "rows", "user_keys")

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.clients: dict[bytes, ClientReplies] = {}
        self.user_keys: dict[tuple[bytes, str], int] = {}
        self.in_flight: dict[object, object] = {}

    @staticmethod
    def identity(key: CallKey) -> tuple[bytes, int | str]:
        """What tells a key from others, without what changes between tries."""
        return (key[0], key[1])

    def judge(self, key: CallKey, *, rows_max: int, bytes_max: int) -> Verdict:
        if self.identity(key) in self.in_flight:
            return Verdict.JOIN
        if isinstance(key, ClientKey):
            client = self.clients.get(key.client_id)
            if client is not None:
                if key.number in client.sizes:
                    return Verdict.REPLAY
                if key.number < client.floor:
                    return Verdict.EXPIRED
            if key.number < key.acknowledged_below:
                return Verdict.EXPIRED
        elif (key.caller, key.key) in self.user_keys:
            return Verdict.REPLAY
        if self.rows >= rows_max or self.bytes >= bytes_max:
            return Verdict.FULL
        return Verdict.RUN

    def stored(self, key: CallKey, size: int) -> None:
        """A reply row of `size` bytes was written (again) for `key`."""
        if isinstance(key, ClientKey):
            sizes: dict[int, int] = self.client(key.client_id).sizes
            before = sizes.get(key.number)
            sizes[key.number] = size
        else:
            before = self.user_keys.get((key.caller, key.key))
            self.user_keys[(key.caller, key.key)] = size
        self.rows += before is None
        self.bytes += size - (before or 0)

    def forget(self, key: CallKey) -> None:
        """The row of `key` was deleted."""
        if isinstance(key, ClientKey):
            client = self.clients.get(key.client_id)
            size = client.sizes.pop(key.number, None) if client is not None else None
        else:
            size = self.user_keys.pop((key.caller, key.key), None)
        if size is not None:
            self.rows -= 1
            self.bytes -= size

    def acknowledge(self, key: ClientKey) -> list[int]:
        """Raise the client's floor; the stored numbers below it, to be deleted."""
        client = self.clients.get(key.client_id)
        if client is None:
            client = self.client(key.client_id)
        if key.acknowledged_below <= client.floor:
            return []
        client.floor = key.acknowledged_below
        gone = [number for number in client.sizes if number < client.floor]
        for number in gone:
            self.rows -= 1
            self.bytes -= client.sizes.pop(number)
        return gone

    def client(self, client_id: bytes) -> ClientReplies:
        client = self.clients.get(client_id)
        if client is None:
            client = self.clients[client_id] = ClientReplies()
        return client
