"""`c`: what an actor's code sees of Holdfast while it runs.

A Context belongs to one call of a handler. Inside a turn everything works;
after the turn has ended (a task that outlives its action, a streaming action
between two items) whatever would change or read durable data raises `no_turn`:
open a turn of its own with `async with c.turn():`. The context does nothing by
itself: a `Host`, in this process or at the other end of a stream, does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias

from typing_extensions import TypeVar

from holdfast.connection import Connection, ConnectionHost, Connections
from holdfast.schedule import Crons, Fire, ScheduleHost, Schedules

if TYPE_CHECKING:
    from holdfast.auth import Auth
    from holdfast.client import BaseClient
    from holdfast.websocket import WebSocket

S = TypeVar("S", default=Any)
C = TypeVar("C", default=Any)
R = TypeVar("R")

KeyType = Literal["text", "bytes"]
Entries: TypeAlias = list[tuple[Any, str | bytes]]
"""Keys (text or bytes, as asked) with their values, in key order."""


class Host(ConnectionHost, Protocol):
    """What a runner provides to the contexts of one actor."""

    @property
    def actor_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def namespace(self) -> str: ...
    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]: ...
    @property
    def random(self) -> random.Random: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def auth(self) -> Auth | None: ...
    @property
    def client(self) -> BaseClient: ...
    @property
    def vars(self) -> Any: ...
    def now(self) -> datetime: ...
    def get_state(self) -> Any: ...
    def set_state(self, value: Any) -> None: ...
    def send(self, actor: Any, key: Iterable[str], action: str, args: Any, kwargs: Any) -> None: ...
    def broadcast(self, name: str, args: tuple[Any, ...], ephemeral: bool) -> None: ...
    def destroy(self) -> None: ...
    async def commit(self) -> None: ...
    def turn(self) -> AbstractAsyncContextManager[None]: ...
    def wait(self, awaitable: Awaitable[Any]) -> Any: ...
    @property
    def abort_signal(self) -> AbortSignal: ...
    def sleep(self) -> None: ...
    def keep_awake(self, awaitable: Awaitable[R]) -> Awaitable[R]: ...
    def wait_until(self, awaitable: Awaitable[Any]) -> None: ...
    async def kv_get(self, keys: list[bytes]) -> list[str | bytes | None]: ...
    async def kv_put(
        self, entries: list[tuple[bytes, str | bytes]], ttl: float | timedelta | None = None
    ) -> None: ...
    async def kv_delete(self, keys: list[bytes]) -> None: ...
    async def kv_delete_range(self, start: bytes, end: bytes) -> None: ...
    async def kv_scan(
        self, start: bytes, end: bytes | None, limit: int | None, reverse: bool
    ) -> list[tuple[bytes, str | bytes]]: ...
    @property
    def schedules(self) -> ScheduleHost: ...
    def open_event_stream(self) -> EventStreamHost: ...
    def list_websockets(self) -> list[WebSocket]: ...


class EventStreamHost(Protocol):
    """What carries the events of one EventStream to its client."""

    @property
    def closed(self) -> bool: ...
    async def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    async def read(self, keepalive_s: float | None) -> bytes:
        """What is sent next; empty at the end."""
        ...


class AbortSignal:
    """Tells code that goes on beside turns that its actor stops: it goes to sleep, or is
    being destroyed."""

    __slots__ = ("_event",)

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    @property
    def aborted(self) -> bool:
        """Whether the actor has begun to stop."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the actor begins to stop."""
        await self._event.wait()


def _key(key: str | bytes) -> bytes:
    if isinstance(key, str):
        return key.encode("utf-8")
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise TypeError(f"a KV key is str or bytes, not {type(key).__name__}")


def _keys(keys: Iterable[str | bytes]) -> list[bytes]:
    if isinstance(keys, str | bytes | bytearray | memoryview):
        raise TypeError(f"keys are a list of KV keys, not one of {type(keys).__name__}")
    return [_key(key) for key in keys]


class Kv:
    """The actor's own sorted key-value storage, committed with the turn.

    Keys are text or bytes (text is its UTF-8; at most 2,048 bytes), values text
    or bytes (at most 128 KiB) and come back as what was put. Order is that of
    the keys' bytes. Reads see the turn's own writes. Limits and their errors:
    `kv.key_too_large`, `kv.value_too_large`, `kv.batch_too_large` (128 keys,
    976 KiB), `kv.storage_full` (1 GiB an actor). An entry that was put with `ttl` is gone
    for every reader when that time is over (`kv.invalid_ttl` for what is no length of time).
    A key or a value of another type is a TypeError, a `limit` below 0 a ValueError.
    """

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    async def get(self, key: str | bytes) -> str | bytes | None:
        """The value of `key`, None when there is none."""
        return (await self._host.kv_get([_key(key)]))[0]

    async def get_batch(self, keys: Iterable[str | bytes]) -> list[str | bytes | None]:
        """The values of `keys` in their order, None for those that are absent."""
        return await self._host.kv_get(_keys(keys))

    async def put(
        self, key: str | bytes, value: str | bytes, *, ttl: float | timedelta | None = None
    ) -> None:
        """Store `value` under `key`, until it is put again, or for `ttl` seconds."""
        await self._host.kv_put([(_key(key), value)], ttl)

    async def put_batch(
        self,
        entries: Mapping[str, str | bytes] | Mapping[bytes, bytes],
        *,
        ttl: float | timedelta | None = None,
    ) -> None:
        """Store several entries, each as `put` does."""
        await self._host.kv_put([(_key(key), value) for key, value in entries.items()], ttl)

    async def delete(self, key: str | bytes) -> None:
        """Delete `key`; nothing happens when it is absent."""
        await self._host.kv_delete([_key(key)])

    async def delete_batch(self, keys: Iterable[str | bytes]) -> None:
        """Delete several keys."""
        await self._host.kv_delete(_keys(keys))

    async def delete_range(self, start: str | bytes, end: str | bytes) -> None:
        """Delete every key with start <= key < end."""
        await self._host.kv_delete_range(_key(start), _key(end))

    async def list(
        self,
        prefix: str | bytes = b"",
        *,
        limit: int | None = None,
        reverse: bool = False,
        key_type: KeyType = "text",
    ) -> Entries:
        """Entries whose key begins with `prefix`, whole keys; at most 16,384."""
        start = _key(prefix)
        trimmed = start.rstrip(b"\xff")
        end = trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
        return self._typed([*await self._host.kv_scan(start, end, limit, reverse)], key_type)

    async def range(
        self,
        start: str | bytes,
        end: str | bytes,
        *,
        limit: int | None = None,
        reverse: bool = False,
        key_type: KeyType = "text",
    ) -> Entries:
        """Entries with start <= key < end; at most 16,384."""
        rows = await self._host.kv_scan(_key(start), _key(end), limit, reverse)
        return self._typed([*rows], key_type)

    @staticmethod
    def _typed(rows: Entries, key_type: KeyType) -> Entries:
        if key_type == "bytes":
            return rows
        return [(key.decode("utf-8"), value) for key, value in rows]


class Context(Generic[S, C]):
    """What a handler may use; passed to every action and hook as `c`."""

    __slots__ = ("_host", "_kv")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kv: Kv | None = None

    @property
    def actor_id(self) -> str:
        """Server-made id, 26 characters; new after destroy and create."""
        return self._host.actor_id

    @property
    def name(self) -> str:
        """Registered name of the actor's class."""
        return self._host.name

    @property
    def key(self) -> list[str]:
        """The actor's key."""
        return list(self._host.key)

    @property
    def namespace(self) -> str:
        """The namespace the actor lives in."""
        return self._host.namespace

    @property
    def state(self) -> S:
        """The durable state, live; changes are committed with the turn."""
        value: S = self._host.get_state()
        return value

    @state.setter
    def state(self, value: S) -> None:
        self._host.set_state(value)

    @property
    def vars(self) -> Any:
        """In-memory data of this activation; not rolled back, lost on sleep."""
        return self._host.vars

    @property
    def conn(self) -> Connection[C] | Any:
        """The connection that the call was made on, or that a call without one is for
        its own length; None where there is none: in timers, sends and hooks of the actor."""
        ref = self._host.current_conn()
        return None if ref is None else Connection[C](self._host, ref)

    @property
    def conns(self) -> Connections[C]:
        """The open connections of this actor."""
        return Connections(self._host)

    @property
    def websockets(self) -> list[WebSocket]:
        """The raw WebSockets of this actor that are open, those that hibernate included: the
        same objects that `on_websocket` has."""
        return self._host.list_websockets()

    @property
    def kv(self) -> Kv:
        """The actor's key-value storage."""
        if self._kv is None:
            self._kv = Kv(self._host)
        return self._kv

    @property
    def schedule(self) -> Schedules:
        """One-shot timers of the actor: `after`, `at`, `get`, `list`, `cancel`."""
        return Schedules(self._host.schedules)

    @property
    def cron(self) -> Crons:
        """Recurring timers of the actor: `set`, `every`, `get`, `list`, `delete`, `pause`,
        `resume`, `history`."""
        return Crons(self._host.schedules)

    @property
    def fire(self) -> Fire | None:
        """The fire of a schedule that this turn is; None in any other turn."""
        return self._host.schedules.fire

    @property
    def auth(self) -> Auth | None:
        """Who asked for this from outside the server: in an action, `can_subscribe`, the hooks
        that let a connection in, `on_request`, `on_websocket`, and the hooks of a start or an
        end that it causes. None where nobody did: in timers, sends, `run`, and calls of other
        actors, which tell by arguments on whose behalf they call."""
        return self._host.auth

    @property
    def client(self) -> BaseClient:
        """A client that calls other actors of this server."""
        return self._host.client

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines name this actor, the action and the trace."""
        return self._host.log

    @property
    def random(self) -> random.Random:
        """The injected random numbers; the test harness seeds them."""
        return self._host.random

    @property
    def deadline(self) -> float | None:
        """Seconds left until the caller's deadline; None without one."""
        return self._host.deadline

    def now(self) -> datetime:
        """The injected wall clock, in UTC."""
        return self._host.now()

    def send(
        self, actor: Any, key: str | Iterable[str], action: str, *args: Any, **kwargs: Any
    ) -> None:
        """Tell an actor something: leaves after the commit and takes effect
        exactly once, in order for each target. `actor` is a class or a name."""
        parts = [key] if isinstance(key, str) else list(key)
        self._host.send(actor, parts, action, args, kwargs)

    def broadcast(self, name: str, *args: Any, ephemeral: bool = False) -> None:
        """Emit an event to the subscribers of this actor: it is committed with the turn,
        numbered, kept for replay, and leaves once that commit is durable. An `ephemeral`
        one has no number, is not stored, and may be dropped for a slow reader. Raises
        `events.too_large`, and `events.invalid_argument` where the declared event has
        other arguments."""
        self._host.broadcast(name, args, ephemeral)

    def destroy(self) -> None:
        """Destroy this actor when the turn commits; on_destroy runs before."""
        self._host.destroy()

    async def commit(self) -> None:
        """Make what the turn did so far durable now: a point of no return."""
        await self._host.commit()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """A turn for code that runs outside one; commits when the block ends."""
        return self._host.turn()

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """In an @action(thread=True): run an awaitable on the loop and wait."""
        return self._host.wait(awaitable)

    def open_event_stream(self) -> EventStreamHost:
        """What an `EventStream` of this actor is made of."""
        return self._host.open_event_stream()

    # Sleep and background work

    @property
    def abort_signal(self) -> AbortSignal:
        """Set when this activation begins to stop: to sleep, or to be destroyed."""
        return self._host.abort_signal

    def sleep(self) -> None:
        """Go to sleep once this turn has committed, or, outside a turn, now. Calls that
        come meanwhile wake the actor again. Nothing happens if it goes to sleep already."""
        self._host.sleep()

    def keep_awake(self, awaitable: Awaitable[R]) -> Awaitable[R]:
        """Let `awaitable` go on beside turns and keep the actor awake until it is done.
        What is returned gives its result, and need not be awaited."""
        return self._host.keep_awake(awaitable)

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Let `awaitable` go on beside turns. The actor may go to sleep, but does not
        leave memory before it is done, up to `sleep_grace_s`. Its failure is logged."""
        self._host.wait_until(awaitable)


__all__ = ["AbortSignal", "Context", "Host", "KeyType", "Kv"]
