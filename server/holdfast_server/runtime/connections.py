"""The connections of one activation, and what one turn does to them.

The table holds what the store says of an actor's connections, and is read when it is
first needed. A turn works on its own Changes: which connections it opened or closed,
what it sent them, whose state it used. They reach the table and the batch together,
when the turn hands over its effects, and nowhere when it fails. A message row is
deleted when its client has acknowledged it, or newer ones have pushed it out; the
newest row of a connection always stays, since its number goes on from there.

A call without a connection has a short-lived one, made when it is first asked for:
it is seen by its own turn only, and is never stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import too_large
from holdfast_server.core.values import Encoding, Value
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.turn import Turn

_PAGE = 1000

# Stands for a live state that has not been decoded.
UNSET: object = object()


class Conn:
    """One connection in memory. `state` is the encoding that the store has."""

    __slots__ = (
        "bytes",
        "closing",
        "id",
        "last",
        "live",
        "opened_at_ms",
        "params",
        "reason",
        "session",
        "short_lived",
        "sizes",
        "state",
    )

    def __init__(self, conn_id: bytes, params: Value | None, *, short_lived: bool = False) -> None:
        self.id = conn_id
        self.params = params
        self.short_lived = short_lived
        self.state = b""
        # The runner's own: the object that handlers see.
        self.live: object = UNSET
        self.session = b""
        self.opened_at_ms = 0
        # Over, though on_disconnect has yet to run.
        self.closing = False
        self.reason = ""
        # Number of its last message, and the sizes of those that are stored, which are
        # the last ones, with their sum; None while nobody has looked.
        self.last = 0
        self.sizes: deque[int] | None = None
        self.bytes = 0

    def row(self, state: bytes | None = None) -> bytes:
        """Its record, with `state` in place of what it has."""
        record = records.ConnectionRecord(
            state=self.state if state is None else state,
            session=self.session,
            last_message=self.last,
            opened_at_ms=self.opened_at_ms,
            closing=self.closing,
            reason=self.reason,
        )
        if self.params is not None:
            record.params_encoding, record.params = self.params
        return record.SerializeToString()


class Outgoing(NamedTuple):
    """A message of a turn that has committed; `number` is 0 for an ephemeral one."""

    connection_id: bytes
    name: str
    args: Value
    number: int


class Table:
    """Every connection of one actor that is stored, those that are closing included."""

    __slots__ = ("open", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, Conn] = {}
        # How many are not closing.
        self.open = 0

    def add(self, conn: Conn) -> None:
        self.rows[conn.id] = conn
        self.open += not conn.closing

    def close(self, conn: Conn, reason: str) -> None:
        """It is seen no more; its row stays until on_disconnect has run."""
        if not conn.closing:
            conn.closing, conn.reason = True, reason
            self.open -= 1

    def remove(self, conn: Conn) -> None:
        if self.rows.pop(conn.id, None) is not None:
            self.open -= not conn.closing
        conn.closing = True


def table_of(activation: Activation) -> Table:
    """The table of an actor's connections, read from the store when first needed."""
    table = activation.connections
    if table is None:
        table = Table()
        start = keys.connection_prefix(activation.actor_id)
        end = keys.prefix_end(start)
        while rows := activation.scan(start, end, limit=_PAGE, reverse=False):
            for key, row in rows:
                record = activation.node.decode_row(records.ConnectionRecord, key, row)
                table.add(_conn_of(keys.parse_connection_key(key)[1], record))
            if len(rows) < _PAGE:
                break
            start = rows[-1][0] + b"\x00"
        activation.connections = table
    return table


def _conn_of(conn_id: bytes, record: records.ConnectionRecord) -> Conn:
    params = None
    if record.params_encoding:
        params = Value(record.params_encoding, record.params)
    conn = Conn(conn_id, params)
    conn.state, conn.session = record.state, record.session
    conn.opened_at_ms, conn.last = record.opened_at_ms, record.last_message
    conn.closing, conn.reason = record.closing, record.reason
    return conn


def has_rows(activation: Activation) -> bool:
    """Whether the actor has connections, which costs one look when none is known."""
    if activation.connections is not None:
        return bool(activation.connections.rows)
    prefix = keys.connection_prefix(activation.actor_id)
    return bool(activation.scan(prefix, keys.prefix_end(prefix), limit=1, reverse=False))


def messages_of(activation: Activation, conn: Conn) -> deque[int]:
    """The sizes of a connection's stored messages, read when first needed."""
    if conn.sizes is None:
        sizes: deque[int] = deque()
        prefix = keys.message_prefix(activation.actor_id, conn.id)
        start, end = prefix, keys.prefix_end(prefix)
        while rows := activation.scan(start, end, limit=_PAGE, reverse=False):
            sizes.extend(len(row) for _, row in rows)
            conn.last = max(conn.last, keys.parse_message_key(rows[-1][0])[2])
            start = rows[-1][0] + b"\x00"
        conn.sizes, conn.bytes = sizes, sum(sizes)
    return conn.sizes


def put_removal(activation: Activation, conn: Conn, batch: Batch) -> None:
    """Delete a connection with its messages."""
    actor_id = activation.actor_id
    batch.delete(keys.connection_key(actor_id, conn.id))
    count = len(messages_of(activation, conn))
    for number in range(conn.last - count + 1, conn.last + 1):
        batch.delete(keys.message_key(actor_id, conn.id, number))


def conn_of(turn: Turn) -> Conn | None:
    """The connection whose turn this is; a call without one gets one for its own length."""
    conn = turn.conn
    if isinstance(conn, Call):
        conn = turn.conn = make_short_lived(turn, conn.params)
    return conn


def make_short_lived(turn: Turn, params: Value | None) -> Conn:
    """A connection of one call, with the state that every connection begins with."""
    assert turn.instance is not None
    node = turn.activation.node
    conn = Conn(node.environment.secret_bytes(16), params, short_lived=True)
    conn.state = turn.instance.first_conn_state()
    return conn


class Changes:
    """What one turn does to connections."""

    __slots__ = (
        "_bytes",
        "_copies",
        "_gone",
        "_opened",
        "_removed",
        "_sent",
        "_states",
        "_turn",
        "used",
    )

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._opened: Conn | None = None
        self._removed: Conn | None = None
        self._gone: dict[bytes, tuple[Conn, str]] = {}
        self._sent: list[tuple[Conn, str, Value, bool]] = []
        self._bytes = 0
        # Whose state the turn has used, and what that has become.
        self.used: dict[bytes, Conn] = {}
        self._states: list[tuple[Conn, bytes]] = []
        # What a read-only turn got, each with the encoding that it must still have.
        self._copies: dict[bytes, tuple[Any, bytes]] | None = None

    # What the turn sees

    @property
    def _table(self) -> Table:
        return table_of(self._turn.activation)

    def visible(self) -> list[Conn]:
        """Every open connection, in the order of their opening in this activation."""
        gone = self._gone
        found = [
            conn for conn in self._table.rows.values() if not conn.closing and conn.id not in gone
        ]
        own = self._own()
        return found if own is None else [*found, own]

    def count(self) -> int:
        gone = sum(1 for conn, _ in self._gone.values() if self._is_stored(conn))
        return self._table.open - gone + (self._own() is not None)

    def find(self, conn_id: bytes) -> Conn | None:
        own = self._own()
        if own is not None and own.id == conn_id:
            return own
        conn = self._table.rows.get(conn_id)
        return None if conn is None or self.is_over(conn) else conn

    def is_over(self, conn: Conn) -> bool:
        """Whether the connection is closed, as far as this turn is concerned."""
        return conn.closing or conn.id in self._gone

    def _own(self) -> Conn | None:
        """The connection that only this turn sees, if there is one."""
        conn = self._opened or conn_of(self._turn)
        if conn is None or self.is_over(conn) or self._is_stored(conn):
            return None
        return conn

    def _is_stored(self, conn: Conn) -> bool:
        return conn.id in self._table.rows

    def copy_of(self, conn: Conn, make: Callable[[], tuple[Any, bytes]]) -> tuple[Any, bytes]:
        """The copy of a state for this turn, made once."""
        if self._copies is None:
            self._copies = {}
        if conn.id not in self._copies:
            self._copies[conn.id] = make()
        return self._copies[conn.id]

    def copies(self) -> Iterable[tuple[Any, bytes]]:
        return () if self._copies is None else self._copies.values()

    # What the turn does

    def open(self, conn: Conn) -> None:
        """This turn opens `conn`."""
        self._opened = conn
        conn.sizes = deque()

    def remove(self, conn: Conn) -> None:
        """This turn runs on_disconnect of `conn`: its rows go."""
        messages_of(self._turn.activation, conn)
        self._removed = conn

    def leave(self, conn: Conn) -> None:
        """The actor is being destroyed, and `conn` is told: it is seen no more."""
        self._gone.setdefault(conn.id, (conn, ""))

    def send(self, conn: Conn, name: str, args: Value, ephemeral: bool) -> None:
        """Send `args`, an array, to one connection."""
        turn = self._turn
        turn.check_read() if ephemeral else turn.check_change()
        if self.is_over(conn):
            raise HoldfastError(errors.CONNECTION_CLOSED)
        limits, size = turn.activation.node.limits, len(name) + len(args.data)
        if size > limits.event_bytes_max:
            raise too_large(f"a message of {size} bytes", limits.event_bytes_max, size)
        count = len(self._sent) + 1
        if count > limits.turn_events_max:
            raise too_large("too many messages in one turn", limits.turn_events_max, count)
        self._bytes += size
        if self._bytes > limits.turn_bytes_max:
            what = f"messages of {self._bytes} bytes"
            raise too_large(what, limits.turn_bytes_max, self._bytes)
        if conn.short_lived:
            # Whoever calls without a connection gets the result and nothing else.
            return
        messages_of(turn.activation, conn)
        self._sent.append((conn, name, args, ephemeral))

    def disconnect(self, conn: Conn, reason: str) -> None:
        self._turn.check_change()
        if not self.is_over(conn):
            self._gone[conn.id] = (conn, reason)

    # What becomes of it

    def put_states(self, batch: Batch) -> None:
        """Add the states that the turn changed; raises for what cannot be stored."""
        turn = self._turn
        assert turn.instance is not None
        self._states = turn.instance.take_conn_states(turn, list(self.used.values()))
        for conn, state in self._states:
            if not conn.short_lived and self._is_stored(conn) and conn is not self._removed:
                key = keys.connection_key(turn.actor_id, conn.id)
                batch.put(key, conn.row(state))

    def keep_states(self) -> None:
        """What `put_states` added is submitted."""
        for conn, state in self._states:
            conn.state = state
        self._states = []

    def take(self, batch: Batch) -> None:
        """Everything else as writes. From here to the commit nothing waits or fails:
        what is noted in the table is written."""
        self.keep_states()
        if not (self._opened or self._removed or self._gone or self._sent):
            return
        turn, table = self._turn, self._table
        activation = turn.activation
        if turn.destroyed:
            # All of them are over, and have been told.
            self._gone = {}
        opened, self._opened = self._opened, None
        if opened is not None:
            table.add(opened)
        outgoing = self._take_messages(batch)
        closed = self._take_gone(batch)
        if opened is not None and not opened.closing:
            batch.put(keys.connection_key(turn.actor_id, opened.id), opened.row())
        removed, self._removed = self._removed, None
        if removed is not None:
            put_removal(activation, removed, batch)
            table.remove(removed)
        links, actor_id = activation.node.links, turn.actor_id
        turn.after(lambda: links.release(opened, outgoing))
        if closed:
            turn.after(lambda: links.finish(actor_id, closed), late=True)

    def _take_gone(self, batch: Batch) -> list[Conn]:
        closed = []
        for conn, reason in self._gone.values():
            if not self._is_stored(conn):
                conn.closing = True
                continue
            self._table.close(conn, reason)
            batch.put(keys.connection_key(self._turn.actor_id, conn.id), conn.row())
            closed.append(conn)
        self._gone = {}
        return closed

    def _take_messages(self, batch: Batch) -> list[Outgoing]:
        sent, self._sent, self._bytes = self._sent, [], 0
        outgoing, actor_id = [], self._turn.actor_id
        now_ms = self._turn.activation.node.environment.clock.now_ms() if sent else 0
        before: tuple[str, Value] | None = None
        row, value = b"", Value(Encoding.MSGPACK, b"")
        for conn, name, args, ephemeral in sent:
            if before != (name, args):
                # What goes to many is made once.
                before, value = (name, args), args
                row = records.EventRecord(
                    name=name, encoding=args.encoding, args=args.data, at_ms=now_ms
                ).SerializeToString()
            number = 0
            if not ephemeral and not conn.closing:
                conn.last += 1
                number = conn.last
                assert conn.sizes is not None
                conn.sizes.append(len(row))
                conn.bytes += len(row)
                batch.put(keys.message_key(actor_id, conn.id, number), row)
                self._trim(conn, conn.sizes, batch)
            outgoing.append(Outgoing(conn.id, name, value, number))
        return outgoing

    def _trim(self, conn: Conn, sizes: deque[int], batch: Batch) -> None:
        """Delete the messages in front that were acknowledged or are too many."""
        node, actor_id = self._turn.activation.node, self._turn.actor_id
        limits, acknowledged = node.limits, node.links.acknowledged(conn.id)
        while len(sizes) > 1:
            number = conn.last - len(sizes) + 1
            if (
                number > acknowledged
                and len(sizes) <= limits.connection_messages_max
                and conn.bytes <= limits.connection_messages_bytes_max
            ):
                return
            batch.delete(keys.message_key(actor_id, conn.id, number))
            conn.bytes -= sizes.popleft()
