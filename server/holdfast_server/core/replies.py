"""What is remembered of one actor key's idempotency keys, and what that decides.

Pure bookkeeping: the rows themselves are in the store. For each key it knows
that a reply is stored, and its size; for each SDK client the number below which
everything was acknowledged. A number below that floor is refused, never run. A
full table refuses new keys. There is one table for each actor in memory, which
most often holds the last reply of one client: that case has no dict.
"""

from __future__ import annotations

from enum import Enum
from itertools import takewhile
from typing import Final

from holdfast_server.core.call import CallKey, ClientKey


class Verdict(Enum):
    """What to do with a call that carries a key and is not in flight."""

    RUN = "run"
    REPLAY = "replay"
    EXPIRED = "expired"
    FULL = "full"


# Every call asks, and a member costs less by a name of its own (see `core.mailbox`).
_RUN: Final = Verdict.RUN


class ClientReplies:
    """One SDK client at one actor: its floor, its stored numbers and their sizes."""

    __slots__ = ("client_id", "due_ms", "floor", "more", "number", "row_bytes")

    def __init__(self, client_id: bytes) -> None:
        self.client_id = client_id
        self.floor = 0
        # When the sweep looks at this client's rows; 0 while no entry is stored.
        self.due_ms = 0
        # The first row, in order of storing; 0 when there is none. The others.
        self.number = 0
        self.row_bytes = 0
        self.more: dict[int, int] | None = None

    def size(self, number: int) -> int | None:
        """The size of a stored reply; None when none is stored."""
        if number == self.number:
            return self.row_bytes
        return self.more.get(number) if self.more else None

    def put(self, number: int, size: int) -> None:
        if self.number in (0, number):
            self.number, self.row_bytes = number, size
            return
        if self.more is None:
            self.more = {}
        self.more[number] = size

    def count_front_below(self, floor: int) -> int:
        """How many rows `pop_front_below` would take out."""
        if not 0 < self.number < floor:
            return 0
        return 1 + sum(1 for _ in takewhile(floor.__gt__, self.more or ()))

    def pop_front_below(self, floor: int) -> list[tuple[int, int]]:
        """Take the first rows out, in order of storing, while they are below `floor`."""
        popped: list[tuple[int, int]] = []
        while 0 < self.number < floor:
            popped.append((self.number, self.row_bytes))
            self.number = self.row_bytes = 0
            if not self.more:
                self.more = None
                break
            gone = list(takewhile(floor.__gt__, self.more))
            popped += [(number, self.more.pop(number)) for number in gone]
            if self.more:
                self.number = next(iter(self.more))
                self.row_bytes = self.more.pop(self.number)
        return popped


class ReplyTable:
    """Stored keys of one actor key."""

    __slots__ = ("_clients", "_user_keys", "bytes", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self._clients: ClientReplies | dict[bytes, ClientReplies] | None = None
        self._user_keys: dict[tuple[bytes, str], int] | None = None

    def judge(self, key: CallKey, *, rows_max: int, bytes_max: int) -> Verdict:
        if isinstance(key, ClientKey):
            client = self.find_client(key.client_id)
            if client is not None:
                if client.size(key.number) is not None:
                    return Verdict.REPLAY
                if key.number < client.floor:
                    return Verdict.EXPIRED
            if key.number < key.acknowledged_below:
                return Verdict.EXPIRED
        elif self._user_keys is not None and (key.caller, key.key) in self._user_keys:
            return Verdict.REPLAY
        if self.rows >= rows_max or self.bytes >= bytes_max:
            return _RUN if self._frees(key) else Verdict.FULL
        return _RUN

    def _frees(self, key: CallKey) -> bool:
        """Whether the call itself acknowledges rows, which go with its batch."""
        if not isinstance(key, ClientKey):
            return False
        client = self.find_client(key.client_id)
        return client is not None and client.count_front_below(key.acknowledged_below) > 0

    def stored(self, key: CallKey, size: int) -> None:
        """A reply row of `size` bytes was written, perhaps again, for `key`."""
        if isinstance(key, ClientKey):
            self.stored_of(self.client(key.client_id), key.number, size)
            return
        if self._user_keys is None:
            self._user_keys = {}
        before = self._user_keys.get((key.caller, key.key))
        self._user_keys[(key.caller, key.key)] = size
        self._count(before, size)

    def stored_of(self, client: ClientReplies, number: int, size: int) -> None:
        """The same for a number of a client of this table."""
        if not client.number and client.more is None:
            # As nearly always: what it had was acknowledged by this very call.
            client.number, client.row_bytes = number, size
            self.rows += 1
            self.bytes += size
            return
        before = client.size(number)
        client.put(number, size)
        self._count(before, size)

    def _count(self, before: int | None, size: int) -> None:
        self.rows += before is None
        self.bytes += size - (before or 0)

    def acknowledge(self, client: ClientReplies, below: int) -> list[int]:
        """Raise a client's floor; the stored numbers below it, to be deleted.

        Only from the front, which costs what it finds: numbers come nearly in
        order, and one that came late goes with those before it.
        """
        if below <= client.floor:
            return []
        client.floor = below
        first = client.number
        if client.more is None:
            if not 0 < first < below:
                return []
            self.rows -= 1
            self.bytes -= client.row_bytes
            client.number = client.row_bytes = 0
            return [first]
        gone = []
        for number, size in client.pop_front_below(below):
            gone.append(number)
            self.rows -= 1
            self.bytes -= size
        return gone

    def find_client(self, client_id: bytes) -> ClientReplies | None:
        known = self._clients
        if isinstance(known, ClientReplies):
            return known if known.client_id == client_id else None
        return None if known is None else known.get(client_id)

    def client(self, client_id: bytes) -> ClientReplies:
        """What is known of a client, made when it is new."""
        client = self.find_client(client_id)
        if client is not None:
            return client
        client = ClientReplies(client_id)
        known = self._clients
        if known is None:
            self._clients = client
        elif isinstance(known, ClientReplies):
            self._clients = {known.client_id: known, client_id: client}
        else:
            known[client_id] = client
        return client
