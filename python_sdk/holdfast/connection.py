"""Connections as an actor's code sees them: `c.conn` and `c.conns`.

A Connection is a client's session with one actor: its parameters, its state, and a
way to reach that client alone. Both classes do nothing by themselves: a
`ConnectionHost` does, within the turn of the running code. What is sent, changed or
disconnected in a turn takes effect with its commit, and not at all when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

C = TypeVar("C", default=Any)


class ConnectionHost(Protocol):
    """What a runner provides to connections; `ref` is its own name for one."""

    def conn_id(self, ref: Any) -> str: ...
    def conn_params(self, ref: Any) -> Any: ...
    def get_conn_state(self, ref: Any) -> Any: ...
    def set_conn_state(self, ref: Any, value: Any) -> None: ...
    def conn_send(self, ref: Any, name: str, args: Any, ephemeral: bool) -> None: ...
    def conn_disconnect(self, ref: Any, reason: str) -> None: ...
    def list_conns(self) -> list[Any]: ...
    def find_conn(self, conn_id: str) -> Any | None: ...
    def count_conns(self) -> int: ...
    def current_conn(self) -> Any | None: ...


class Connection(Generic[C]):
    """One connection; equal to another when both have the same id."""

    __slots__ = ("_host", "_ref")

    def __init__(self, host: ConnectionHost, ref: Any) -> None:
        self._host = host
        self._ref = ref

    @property
    def id(self) -> str:
        """Server-made id, 26 characters."""
        return self._host.conn_id(self._ref)

    @property
    def params(self) -> Any:
        """What the client connected with; `{}` when it gave nothing."""
        return self._host.conn_params(self._ref)

    @property
    def state(self) -> C:
        """The connection's own durable state, live; changes are committed with the turn."""
        value: C = self._host.get_conn_state(self._ref)
        return value

    @state.setter
    def state(self, value: C) -> None:
        self._host.set_conn_state(self._ref, value)

    def send(self, name: str, /, *args: Any, ephemeral: bool = False) -> None:
        """Send this client alone an event, when the turn has committed.

        It arrives in order, once, also across a reconnect; an `ephemeral` one is dropped
        when the client is not there or does not read.
        """
        self._host.conn_send(self._ref, name, args, ephemeral)

    def disconnect(self, reason: str = "") -> None:
        """Close the connection when the turn commits; the client is told `reason`.

        It leaves `c.conns` at once; `on_disconnect` runs in a turn of its own after it.
        """
        self._host.conn_disconnect(self._ref, reason)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Connection) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<connection {self.id}>"


class Connections(Generic[C]):
    """The open connections of an actor, as the running turn sees them.

    Iterating gives those that are open now; what is opened or closed meanwhile does
    not disturb it. An id or a connection can be looked up: `conn in c.conns`,
    `c.conns["..."]`.
    """

    __slots__ = ("_host",)

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host

    def __iter__(self) -> Iterator[Connection[C]]:
        host = self._host
        return iter([Connection(host, ref) for ref in host.list_conns()])

    def __len__(self) -> int:
        return self._host.count_conns()

    def __contains__(self, item: object) -> bool:
        key = item.id if isinstance(item, Connection) else item
        return isinstance(key, str) and self._host.find_conn(key) is not None

    def __getitem__(self, conn_id: str) -> Connection[C]:
        found = self.get(conn_id)
        if found is None:
            raise KeyError(conn_id)
        return found

    def get(self, conn_id: str) -> Connection[C] | None:
        """The connection with this id, None when there is none."""
        ref = self._host.find_conn(conn_id)
        return None if ref is None else Connection(self._host, ref)

    @property
    def others(self) -> list[Connection[C]]:
        """All but `c.conn`."""
        host, own = self._host, self._host.current_conn()
        return [Connection(host, ref) for ref in host.list_conns() if ref is not own]

    def __repr__(self) -> str:
        return f"<{len(self)} connections>"


__all__ = ["Connection", "ConnectionHost", "Connections"]
