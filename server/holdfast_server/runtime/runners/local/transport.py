"""`c.client`: actors of this server, called without leaving the process.

An ordinary call out of a turn first waits until all earlier turns of its actor
are synced, then runs in the caller's task, with the caller's turn as its origin
(so that call cycles are found) and the caller's deadline. It carries no
idempotency key: nothing between caller and callee can lose an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from holdfast import _transport as wire
from holdfast_server.core import call as core
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import Address, check_key, format_actor_id, parse_actor_id
from holdfast_server.core.values import Value
from holdfast_server.runtime import lifecycle
from holdfast_server.runtime.runners.local.current import passed_on
from holdfast_server.runtime.runners.local.failure import actor_error

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.runners.local.host import LocalHost
    from holdfast_server.runtime.turn import Turn


def _value(encoded: wire.Encoded | None) -> Value | None:
    return None if encoded is None else Value(encoded.encoding, encoded.data)


class InProcessTransport:
    """The SDK's Transport over the node that runs the calling actor."""

    def __init__(self, activation: Activation, host: LocalHost) -> None:
        self._activation = activation
        self._node = activation.node
        self._host = host

    @property
    def _turn(self) -> Turn | None:
        return self._host.live_turn

    async def invoke(self, call: wire.Call) -> wire.Reply:
        await self._earlier_turns()
        try:
            answer = await self._node.invoke(self._call(call))
        except HoldfastError as error:
            raise actor_error(error) from None
        return wire.Reply(
            wire.Encoded(answer.value.encoding, answer.value.data),
            format_actor_id(answer.actor_id),
            int(answer.durability),
            answer.replayed,
        )

    async def stream(self, call: wire.Call) -> AsyncIterator[wire.Encoded]:
        await self._earlier_turns()
        try:
            async with aclosing(self._node.stream(self._call(call))) as items:
                async for item in items:
                    yield wire.Encoded(item.encoding, item.data)
        except HoldfastError as error:
            raise actor_error(error) from None

    async def create(self, request: wire.Lifecycle) -> wire.ActorInfo:
        return (await self._create(request, lifecycle.CREATE))[0]

    async def get_or_create(self, request: wire.Lifecycle) -> tuple[wire.ActorInfo, bool]:
        return await self._create(request, lifecycle.GET_OR_CREATE)

    async def destroy(self, request: wire.Lifecycle) -> str:
        await self._earlier_turns()
        try:
            return format_actor_id(
                await self._node.destroy(self._lifecycle(request, lifecycle.DESTROY))
            )
        except HoldfastError as error:
            raise actor_error(error) from None

    async def get(self, request: wire.Lifecycle) -> wire.ActorInfo:
        try:
            actor_id, record = await self._node.lookup.get(self._target(request.target))
        except HoldfastError as error:
            raise actor_error(error) from None
        return _info(actor_id, record)

    async def list_actors(self, query: wire.ListQuery) -> tuple[list[wire.ActorInfo], str]:
        namespace = self._activation.address.namespace
        size = query.page_size or 100
        try:
            after = bytes.fromhex(query.page_token)
        except ValueError:
            raise actor_error(invalid("page_token", "is not from this list")) from None
        try:
            rows, following = await self._node.lookup.list_actors(
                namespace, query.name, query.key_prefix, after, size
            )
        except HoldfastError as error:
            raise actor_error(error) from None
        return [_info(*row) for row in rows], following.hex()

    async def close(self) -> None:
        """Nothing is held."""

    async def _earlier_turns(self) -> None:
        try:
            await self._activation.until_synced()
        except HoldfastError as error:
            raise actor_error(error) from None

    async def _create(self, request: wire.Lifecycle, action: str) -> tuple[wire.ActorInfo, bool]:
        await self._earlier_turns()
        try:
            actor_id, record, created = await self._node.create(self._lifecycle(request, action))
        except HoldfastError as error:
            raise actor_error(error) from None
        return _info(actor_id, record), created

    def _lifecycle(self, request: wire.Lifecycle, action: str) -> core.Call:
        turn, target = self._turn, self._target(request.target)
        return core.Call(
            target=target,
            action=action,
            args=target.input,
            deadline=self._deadline(turn, request.timeout),
            trace=passed_on(turn),
            origin=turn,
            caller=self._activation,
        )

    def _target(self, target: wire.Target) -> core.Target:
        try:
            if target.actor_id is not None:
                return core.Target(
                    actor_id=parse_actor_id(target.actor_id),
                    namespace=self._activation.address.namespace,
                )
            check_key(target.key, "key", self._node.limits)
        except HoldfastError as error:
            raise actor_error(error) from None
        address = Address(self._activation.address.namespace, target.name, target.key)
        return core.Target(address=address, create=target.create, input=_value(target.input))

    def _deadline(self, turn: Turn | None, timeout: float | None) -> float | None:
        ends = [] if timeout is None else [self._node.loop.time() + timeout]
        if turn is not None and turn.deadline is not None:
            ends.append(turn.deadline)
        return min(ends, default=None)

    def _call(self, call: wire.Call) -> core.Call:
        turn = self._turn
        return core.Call(
            target=self._target(call.target),
            action=call.action,
            args=_value(call.args),
            kwargs=_value(call.kwargs),
            accept=call.accept,
            deadline=self._deadline(turn, call.timeout),
            trace=passed_on(turn),
            params=self._params(call.params),
            origin=turn,
            caller=self._activation,
        )

    def _params(self, params: wire.Encoded | None) -> Value | None:
        limit = self._node.limits.params_bytes_max
        if params is not None and len(params.data) > limit:
            raise actor_error(
                HoldfastError(
                    errors.MESSAGE_INCOMING_TOO_LONG,
                    f"params: {len(params.data)} bytes; at most {limit}",
                    metadata={"field": "params", "limit": str(limit)},
                )
            )
        return _value(params)


def _info(actor_id: bytes, record: Any) -> wire.ActorInfo:
    at = datetime.fromtimestamp(record.created_at_ms / 1000, UTC)
    return wire.ActorInfo(
        format_actor_id(actor_id), record.name, tuple(record.key), record.namespace, at
    )
