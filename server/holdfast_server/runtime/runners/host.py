"""What `c` does in this process: the SDK's Host over a Turn and its instance.

A host belongs to one call. `current` is the turn it may use now: None when the
turn has ended, another one inside `async with c.turn()` or at the next step of
a stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast.client import BaseClient
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import check_key, format_actor_id
from holdfast_server.runtime.runners.inprocess import InProcessTransport
from holdfast_server.runtime.turn import BYTES, TEXT, Turn
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    import random

    from holdfast_server.runtime.runners.local import LocalInstance

_log = logging.getLogger("holdfast.user")
_current: ContextVar[Turn | None] = ContextVar("holdfast_turn", default=None)


def enter_turn(turn: Turn) -> Token[Turn | None]:
    """Code that runs now belongs to `turn`: its outgoing calls name it."""
    return _current.set(turn)


def leave_turn(token: Token[Turn | None]) -> None:
    _current.reset(token)


def user_error(error: sdk.UserError) -> HoldfastError:
    """A UserError as the catalogue knows it."""
    metadata = None
    if error.metadata is not None:
        metadata = payload.encode(error.metadata, payload.Encoding.JSON)
    return HoldfastError(
        errors.USER_ERROR, str(error.message), code=error.code, user_metadata_json=metadata
    )


class LocalHost:
    """Host of one call."""

    __slots__ = ("_instance", "current", "in_thread")

    def __init__(self, instance: LocalInstance, turn: Turn | None) -> None:
        self._instance = instance
        self.current = turn
        self.in_thread = False

    def _turn(self) -> Turn:
        turn = self.current
        if turn is None or turn.ended:
            raise HoldfastError(errors.NO_TURN)
        return turn

    @property
    def actor_id(self) -> str:
        turn = self.current
        activation = self._instance.activation
        return format_actor_id((turn.actor_id if turn else b"") or activation.actor_id)

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
        address = self._instance.activation.address
        extra = {"actor": address.name, "key": list(address.key), "actor_id": self.actor_id}
        return logging.LoggerAdapter(_log, extra)

    @property
    def random(self) -> random.Random:
        return self._instance.activation.node.environment.random

    @property
    def deadline(self) -> float | None:
        turn = self.current
        if turn is None or turn.deadline is None:
            return None
        return max(0.0, turn.deadline - self._instance.activation.node.loop.time())

    @property
    def client(self) -> BaseClient:
        runner, activation = self._instance.runner, self._instance.activation
        client = BaseClient(
            InProcessTransport(activation, self.current),
            namespace=activation.address.namespace,
            timeout=None,
        )
        for cls, name in runner.name_of.items():
            client.register(cls, name)
        return client

    @property
    def vars(self) -> Any:
        return self._instance.vars

    def now(self) -> datetime:
        clock = self._instance.activation.node.environment.clock
        return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)

    def get_state(self) -> Any:
        return self._instance.get_state(self._turn())

    def set_state(self, value: Any) -> None:
        self._instance.set_state(self._turn(), value)

    def send(self, actor: Any, key: Iterable[str], action: str, args: Any, kwargs: Any) -> None:
        turn = self._turn()
        turn.check_change()
        activation = self._instance.activation
        name = actor if isinstance(actor, str) else self._instance.runner.name_of.get(actor, "")
        activation.node.runner.info(name).action(action)
        parts = tuple(key)
        check_key(parts, "key", activation.node.limits)
        encoding = payload.Encoding.MSGPACK
        turn.sends.append(
            records.SendRecord(
                namespace=activation.address.namespace,
                name=name,
                key=parts,
                action=action,
                encoding=encoding,
                args=payload.encode(list(args), encoding),
                kwargs=payload.encode(kwargs, encoding) if kwargs else b"",
                traceparent=turn.traceparent,
                sent_at_ms=activation.node.environment.clock.now_ms(),
                sender_name=activation.address.name,
                sender_key=activation.address.key,
            )
        )

    def destroy(self) -> None:
        turn = self._turn()
        turn.check_change()
        turn.destroyed = True

    async def commit(self) -> None:
        """Commit what the turn did so far, as a point of no return."""
        turn = self._turn()
        turn.check_change()
        activation = self._instance.activation
        batch = Batch()
        activation.put_state(self._instance, turn, batch)
        batch.extend(turn.take())
        if turn.reply is not None and not turn.committed:
            turn.reply.put_started(batch, activation.actor_id)
        turn.committed = True
        await activation.commit(batch, turn)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn of its own for code outside one."""
        if self.current is not None and not self.current.ended:
            raise HoldfastError(errors.NO_TURN, "c.turn() inside a turn would wait for itself")
        activation = self._instance.activation
        turn = activation.node.make_turn(activation)
        async with activation.holding(turn, None):
            if activation.instance is not self._instance:
                raise HoldfastError(errors.ACTOR_DESTROYED)
            turn.actor_id = activation.actor_id
            self.current = turn
            token = enter_turn(turn)
            try:
                yield
                durable = await activation.finish(turn, None)
            except BaseException:
                self._instance.rollback()
                raise
            finally:
                leave_turn(token)
        await durable

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await awaitable

        loop = self._instance.activation.node.loop
        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    async def kv_get(self, keys: list[bytes]) -> list[str | bytes | None]:
        turn = self._turn()
        return [_plain(turn.kv_get(key)) for key in keys]

    async def kv_put(self, entries: list[tuple[bytes, str | bytes]]) -> None:
        self._turn().kv_put([(key, _typed(value)) for key, value in entries])

    async def kv_delete(self, keys: list[bytes]) -> None:
        self._turn().kv_delete(keys)

    async def kv_delete_range(self, start: bytes, end: bytes) -> None:
        self._turn().kv_delete_range(start, end)

    async def kv_scan(
        self, start: bytes, end: bytes | None, limit: int | None, reverse: bool
    ) -> list[tuple[bytes, str | bytes]]:
        most = self._instance.activation.node.limits.kv_list_max
        count = most if limit is None else min(limit, most)
        rows = self._turn().kv_scan(start, end, count, reverse)
        return [(key, _plain(value) or "") for key, value in rows]


def _typed(value: str | bytes) -> bytes:
    if isinstance(value, str):
        return TEXT + value.encode("utf-8")
    if isinstance(value, bytes | bytearray | memoryview):
        return BYTES + bytes(value)
    raise TypeError(f"a KV value is str or bytes, not {type(value).__name__}")


def _plain(value: bytes | None) -> str | bytes | None:
    if value is None:
        return None
    return value[1:].decode("utf-8") if value[:1] == TEXT else value[1:]


__all__ = ["LocalHost", "enter_turn", "leave_turn", "user_error"]
