"""What `c` does in this process: the SDK's Host over a turn and its instance.

A host belongs to one call. The turn that its code may use is the one that the
running task entered last on this actor (an action's, a hook's, or that of an
`async with c.turn()`), else the call's own, while it lasts. Whatever is refused
is raised as ActorError, so that actor code can tell why.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast import errors as sdk
from holdfast import payload
from holdfast.client import BaseClient
from holdfast.context import AbortSignal
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import check_key, format_actor_id, parse_actor_id
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import NO_TRACE, Cause
from holdfast_server.runtime.background import (
    Background,
    Kept,
    Work,
    check_stays,
    contained,
    running_background,
)
from holdfast_server.runtime.connecting import CONNECT
from holdfast_server.runtime.connections import Conn, conn_of
from holdfast_server.runtime.execution import fail, finish
from holdfast_server.runtime.expiry import expires_at
from holdfast_server.runtime.kv import BYTES, TEXT
from holdfast_server.runtime.runners.local import connections
from holdfast_server.runtime.runners.local.auth import auth_of
from holdfast_server.runtime.runners.local.current import (
    current_turn,
    enter_turn,
    leave_turn,
    passed_on,
)
from holdfast_server.runtime.runners.local.event_stream import LocalEventStream
from holdfast_server.runtime.runners.local.events import emission_of, encoded_arguments
from holdfast_server.runtime.runners.local.failure import actor_error, in_loop
from holdfast_server.runtime.runners.local.logs import log_of
from holdfast_server.runtime.runners.local.schedules import LocalSchedules
from holdfast_server.runtime.runners.local.sockets import sockets_of
from holdfast_server.runtime.runners.local.surface import surfaced, surfaced_async
from holdfast_server.runtime.runners.local.transport import InProcessTransport
from holdfast_server.runtime.turn import Turn
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    import random

    from holdfast.auth import Auth
    from holdfast.websocket import WebSocket
    from holdfast_server.runtime.runners.local.instance import LocalInstance

# The turn of an `async with c.turn()`.
OWN_TURN = "$turn"

R = TypeVar("R")


class LocalHost:
    """Host of one call."""

    __slots__ = ("_instance", "current")

    def __init__(self, instance: LocalInstance, turn: Turn | None) -> None:
        self._instance = instance
        self.current = turn

    @property
    def live_turn(self) -> Turn | None:
        """The turn that the running code may use; None outside one."""
        turn = current_turn()
        if turn is not None and not turn.ended and turn.instance is self._instance:
            return turn
        turn = self.current
        return None if turn is None or turn.ended else turn

    def _turn(self) -> Turn:
        turn = self.live_turn
        if turn is None:
            raise HoldfastError(errors.NO_TURN)
        return turn

    def turn_in_progress(self) -> Turn:
        """The turn that the running code may use; `no_turn` outside one."""
        return self._turn()

    # Timers

    @property
    def schedules(self) -> LocalSchedules:
        return LocalSchedules(self, self._instance)

    # Raw requests

    def open_event_stream(self) -> LocalEventStream:
        # What ends the stream when the actor stops.
        self.background  # noqa: B018
        return LocalEventStream(self._instance)

    def list_websockets(self) -> list[WebSocket]:
        return sockets_of(self._instance, LocalHost(self._instance, None))

    # Who and when

    @property
    def actor_id(self) -> str:
        return format_actor_id(self._instance.actor_id)

    @property
    def name(self) -> str:
        return self._instance.activation.address.name

    @property
    def key(self) -> tuple[str, ...]:
        return self._instance.activation.address.key

    @property
    def namespace(self) -> str:
        return self._instance.activation.address.namespace

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        instance = self._instance
        return log_of(instance.activation.address, instance.actor_id, self.live_turn)

    @property
    def random(self) -> random.Random:
        return self._instance.activation.node.environment.random

    @property
    def deadline(self) -> float | None:
        turn = self.live_turn
        if turn is None or turn.deadline is None:
            return None
        return max(0.0, turn.deadline - self._instance.activation.node.loop.time())

    def now(self) -> datetime:
        clock = self._instance.activation.node.environment.clock
        return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)

    @property
    def auth(self) -> Auth | None:
        # Its own call's, also between turns and in those that it opens itself.
        turn = self.current or self.live_turn
        return None if turn is None or turn.auth is None else auth_of(turn.auth)

    # State

    @property
    @surfaced
    def vars(self) -> Any:
        return self._instance.get_vars()

    def get_state(self) -> Any:
        # Not by `surfaced`, and `live_turn` in place: nearly every action comes here, several
        # times.
        turn, instance = current_turn(), self._instance
        try:
            if turn is None or turn.ended or turn.instance is not instance:
                turn = self._turn()
            return instance.get_state(turn)
        except HoldfastError as error:
            raise actor_error(error) from None

    @surfaced
    def set_state(self, value: Any) -> None:
        self._instance.set_state(self._turn(), value)

    # Connections

    def current_conn(self) -> Conn | None:
        turn = self.live_turn
        return None if turn is None else conn_of(turn)

    @surfaced
    def list_conns(self) -> list[Conn]:
        return self._on_loop(self._turn().connections.visible)

    @surfaced
    def count_conns(self) -> int:
        return self._on_loop(self._turn().connections.count)

    @surfaced
    def find_conn(self, conn_id: str) -> Conn | None:
        changes = self._turn().connections
        try:
            found = parse_actor_id(conn_id)
        except HoldfastError:
            return None
        return self._on_loop(lambda: changes.find(found))

    def _lasting_conn(self) -> Conn | None:
        """The connection of this host's call, if it outlives the call."""
        conn = None if self.current is None else self.current.conn
        return conn if isinstance(conn, Conn) and not conn.short_lived else None

    def _on_loop(self, read: Callable[[], R]) -> R:
        """What may read the store, which only the loop's thread does."""
        if in_loop():
            return read()

        async def run() -> R:
            return read()

        loop = self._instance.activation.node.loop
        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    @staticmethod
    def conn_id(ref: Conn) -> str:
        return format_actor_id(ref.id)

    @staticmethod
    @surfaced
    def conn_params(ref: Conn) -> Any:
        return connections.decode_params(ref.params)

    @surfaced
    def get_conn_state(self, ref: Conn) -> Any:
        return connections.get_state(self._instance, self._turn(), ref)

    @surfaced
    def set_conn_state(self, ref: Conn, value: Any) -> None:
        connections.set_state(self._instance, self._turn(), ref, value)

    @surfaced
    def conn_send(self, ref: Conn, name: str, args: Any, ephemeral: bool) -> None:
        changes = self._turn().connections
        if not isinstance(name, str) or not name:
            raise TypeError("the name of an event is a string with at least one character")
        # Listeners of a name hear its events and these alike.
        value = encoded_arguments(self._instance.declared_event(name), args)
        if in_loop():
            changes.send(ref, name, value, ephemeral)
        else:
            self._on_loop(lambda: changes.send(ref, name, value, ephemeral))

    @surfaced
    def conn_disconnect(self, ref: Conn, reason: str) -> None:
        self._turn().connections.disconnect(ref, reason)

    # Other actors

    @property
    def client(self) -> BaseClient:
        activation = self._instance.activation
        return BaseClient(
            InProcessTransport(activation, self),
            namespace=activation.address.namespace,
            timeout=None,
            names=self._instance.runner.name_of,
        )

    @surfaced
    def send(self, actor: Any, key: Iterable[str], action: str, args: Any, kwargs: Any) -> None:
        turn, instance = self._turn(), self._instance
        turn.check_change()
        activation, runner = instance.activation, instance.runner
        name = actor if isinstance(actor, str) else runner.name_of.get(actor)
        if name is None:
            raise HoldfastError(
                errors.ACTOR_NAME_NOT_FOUND,
                f"the registry has no {getattr(actor, '__name__', actor)}",
            )
        if runner.info(name).action(action).streaming:
            raise HoldfastError(errors.ACTION_WRONG_KIND, "a streaming action cannot be sent to")
        parts = tuple(key)
        check_key(parts, "key", activation.node.limits)
        encoding, trace = payload.Encoding.MSGPACK, passed_on(turn)
        turn.send(
            records.SendRecord(
                namespace=activation.address.namespace,
                name=name,
                key=parts,
                action=action,
                encoding=encoding,
                args=payload.encode(list(args), encoding),
                kwargs=payload.encode(kwargs, encoding) if kwargs else b"",
                traceparent=trace.parent,
                tracestate=trace.state,
                sent_at_ms=activation.node.environment.clock.now_ms(),
                sender_name=activation.address.name,
                sender_key=activation.address.key,
            )
        )

    # Events

    @surfaced
    def broadcast(self, name: str, args: tuple[Any, ...], ephemeral: bool) -> None:
        self._turn().emit(emission_of(self._instance.declared_event(name), name, args, ephemeral))

    # The turn itself

    @surfaced
    def destroy(self) -> None:
        own = running_background()
        if own is not None and own.activation is self._instance.activation and not self.live_turn:
            self.background.add(self._destroy(), Work.WAIT_UNTIL)
            return
        turn = self._turn()
        turn.check_change()
        check_stays(self._instance.activation)
        turn.destroyed = True

    async def _destroy(self) -> None:
        async with self.turn():
            self.destroy()

    @surfaced_async
    async def commit(self) -> None:
        """Commit what the turn did so far, as a point of no return."""
        turn, activation = self._turn(), self._instance.activation
        turn.check_change()
        if turn.action == CONNECT:
            raise HoldfastError(
                errors.NO_TURN, "the turn that opens a connection commits at its end"
            )
        if turn.creating:
            raise HoldfastError(errors.NO_TURN, "the turn that creates an actor commits at its end")
        if turn.destroyed:
            raise HoldfastError(
                errors.NO_TURN, "the turn that destroys an actor commits at its end"
            )
        if activation.actor_id != turn.actor_id:
            raise HoldfastError(errors.ACTOR_DESTROYED)
        batch = Batch()
        activation.put_state(turn, batch)
        turn.take(batch)
        activation.put_middle(turn, batch)
        turn.committed = True
        await activation.commit(batch, turn)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn of its own for code outside one."""
        instance, outer = self._instance, current_turn()
        activation = instance.activation
        if (
            outer is not None
            and not outer.ended
            and outer.instance is instance
            and outer.task is asyncio.current_task()
        ):
            raise actor_error(
                HoldfastError(errors.NO_TURN, "c.turn() inside a turn would wait for itself")
            )
        mode = Mode.INTERLEAVED if activation.info.interleave else Mode.EXCLUSIVE
        trace = NO_TRACE if outer is None else outer.trace
        turn = Turn(activation, mode, None, OWN_TURN, trace, Cause.SPAWN)
        turn.conn = self._lasting_conn()
        activation.users += 1
        try:
            async with activation.holding(turn, None):
                if activation.instance is not instance:
                    raise HoldfastError(errors.ACTOR_DESTROYED)
                turn.begin(instance, activation.actor_id)
                turn.task = asyncio.current_task()
                token = enter_turn(turn)
                try:
                    yield
                except BaseException as error:
                    fail(activation, turn, error)
                    raise
                finally:
                    leave_turn(token)
                durable = await finish(activation, turn, None)
            await durable
        except HoldfastError as error:
            raise actor_error(error) from None
        finally:
            activation.node.catalog.leave(activation)

    # Sleep and background work

    @property
    def background(self) -> Background:
        """Where code of this actor goes on outside turns."""
        activation = self._instance.activation
        if activation.actor_id != self._instance.actor_id and activation.start is None:
            raise HoldfastError(errors.ACTOR_DESTROYED)
        if activation.dropped and activation.background is None:
            raise HoldfastError(errors.ACTOR_STOPPING, "the actor has left memory since")
        return activation.background_now()

    @property
    @surfaced
    def abort_signal(self) -> AbortSignal:
        return AbortSignal(self.background.aborted)

    @surfaced
    def sleep(self) -> None:
        turn, activation = self.live_turn, self._instance.activation
        if turn is not None:
            turn.check_change()
        if activation.instance is not self._instance:
            if activation.start is not None:
                raise HoldfastError(
                    errors.NO_TURN, "the actor is still starting: it cannot go to sleep yet"
                )
            raise HoldfastError(errors.ACTOR_DESTROYED)
        if turn is not None:
            turn.sleeps = True
        elif not activation.dropped:
            activation.node.sleeper.begin(activation)

    @surfaced
    def keep_awake(self, awaitable: Awaitable[R]) -> Awaitable[R]:
        return Kept(self._background_for(awaitable, "keep_awake"), awaitable)

    @surfaced
    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        self._background_for(awaitable, "wait_until").add(awaitable, Work.WAIT_UNTIL)

    def _background_for(self, awaitable: Awaitable[Any], what: str) -> Background:
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"c.{what} takes an awaitable, not {type(awaitable).__name__}")
        try:
            if not in_loop():
                raise sdk.HoldfastError(
                    f"c.{what} is for code on the loop; in an @action(thread=True) use c.wait"
                )
            return self.background
        except BaseException:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        if in_loop():
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            # It would wait for the very loop that it keeps from running.
            raise sdk.HoldfastError(
                "c.wait is for an @action(thread=True); here use `await` instead"
            )
        node = self._instance.activation.node
        return node.environment.threads.wait(
            asyncio.run_coroutine_threadsafe(contained(awaitable), node.loop)
        )

    # KV

    @surfaced_async
    async def kv_get(self, keys: list[bytes]) -> list[str | bytes | None]:
        view = self._turn().kv
        return [None if value is None else _plain(value) for value in map(view.get, keys)]

    @surfaced_async
    async def kv_put(self, entries: list[tuple[bytes, str | bytes]], ttl: Any = None) -> None:
        now_ms = self._instance.activation.node.environment.clock.now_ms()
        expires_ms = None if ttl is None else expires_at(ttl, now_ms)
        self._turn().changing_kv().put([(key, _typed(value)) for key, value in entries], expires_ms)

    @surfaced_async
    async def kv_delete(self, keys: list[bytes]) -> None:
        self._turn().changing_kv().delete(keys)

    @surfaced_async
    async def kv_delete_range(self, start: bytes, end: bytes) -> None:
        self._turn().changing_kv().delete_range(start, end)

    @surfaced_async
    async def kv_scan(
        self, start: bytes, end: bytes | None, limit: int | None, reverse: bool
    ) -> list[tuple[bytes, str | bytes]]:
        most = self._instance.activation.node.limits.kv_list_max
        if limit is not None and limit < 0:
            raise ValueError(f"limit is {limit}; it is 0 to {most} (kv_list_max), or None")
        count = most if limit is None else min(limit, most)
        rows = self._turn().kv.scan(start, end, count, reverse)
        return [(key, _plain(value)) for key, value in rows]


def _typed(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return TEXT + value.encode("utf-8")
    if isinstance(value, bytes | bytearray | memoryview):
        return BYTES + bytes(value)
    raise TypeError(f"a KV value is str or bytes, not {type(value).__name__}")


def _plain(value: bytes) -> str | bytes:
    return value[1:].decode("utf-8") if value[:1] == TEXT else value[1:]
