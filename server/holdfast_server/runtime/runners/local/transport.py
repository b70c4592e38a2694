"""`c.client`: actors of this server, called without leaving the process.

An ordinary call out of a turn first waits until all earlier turns of its actor
are synced, then runs in the caller's task, with the caller's turn as its origin
(so that call cycles are found) and the caller's deadline. It carries no
idempotency key: nothing between caller and callee can lose an answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from holdfast import _transport as wire
from holdfast import errors as sdk
from holdfast._connection_core import ConnectionCore
from holdfast_server.core import call as core
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import Address, check_key, format_actor_id, parse_actor_id
from holdfast_server.core.values import Value
from holdfast_server.runtime import lifecycle
from holdfast_server.runtime.runners.local.current import passed_on
from holdfast_server.runtime.runners.local.failure import actor_error, in_loop
from holdfast_server.runtime.runners.local.outgoing import OutgoingConnection, OutgoingSubscription

if TYPE_CHECKING:
    from holdfast._feed import Feed
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.background import Background
    from holdfast_server.runtime.readers import Link
    from holdfast_server.runtime.runners.local.host import LocalHost
    from holdfast_server.runtime.turn import Turn


def _value(encoded: wire.Encoded | None) -> Value | None:
    return None if encoded is None else Value(encoded.encoding, encoded.data)


class InProcessTransport:
    """The SDK's Transport over the node that runs the calling actor."""

    def __init__(self, activation: Activation, host: LocalHost) -> None:
        self.activation = activation
        self.node = activation.node
        self._host = host

    @property
    def turn(self) -> Turn | None:
        """The turn of the running code."""
        return self._host.live_turn

    def background(self) -> Background:
        """The background work of the actor; HoldfastError where it has left memory."""
        return self._host.background

    async def invoke(self, call: wire.Call) -> wire.Reply:
        return await self._invoke(call, None)

    async def invoke_on(self, call: wire.Call, connection: ConnectionCore) -> wire.Reply:
        """Run an action on a connection."""
        return await self._invoke(call, await self._link(call, connection))

    async def _invoke(self, call: wire.Call, link: Link | None) -> wire.Reply:
        await self.earlier_turns()
        try:
            answer = await self.node.invoke(self._call(call, link))
        except HoldfastError as error:
            raise actor_error(error) from None
        return wire.Reply(
            wire.Encoded(answer.value.encoding, answer.value.data),
            format_actor_id(answer.actor_id),
            int(answer.durability),
            answer.replayed,
        )

    def stream(self, call: wire.Call) -> AsyncGenerator[wire.Encoded, None]:
        return self._stream(call, None)

    def iterate_on(
        self, call: wire.Call, connection: ConnectionCore
    ) -> AsyncGenerator[wire.Encoded, None]:
        """Run a streaming action on a connection."""
        return self._stream(call, connection)

    async def _stream(
        self, call: wire.Call, connection: ConnectionCore | None
    ) -> AsyncGenerator[wire.Encoded, None]:
        link = None if connection is None else await self._link(call, connection)
        await self.earlier_turns()
        try:
            async with aclosing(self.node.stream(self._call(call, link))) as items:
                async for item in items:
                    yield wire.Encoded(item.encoding, item.data)
        except HoldfastError as error:
            raise actor_error(error) from None

    def connection_core(
        self, transport: Any, request: wire.Connect, params: Any, timeout: float | None, decode: Any
    ) -> ConnectionCore:
        """What is behind a connection."""
        self._check_loop("connect")
        return ConnectionCore(transport, request, params, timeout, decode)

    def connection(self, request: wire.Connect, core: ConnectionCore) -> OutgoingConnection:
        """A connection that is not yet open."""
        return OutgoingConnection(self, request, core)

    def subscription(
        self, request: wire.Subscribe, feed: Feed, connection: OutgoingConnection | None = None
    ) -> OutgoingSubscription:
        """What carries a feed: of the actor, or of a connection."""
        self._check_loop("events")
        return OutgoingSubscription(self, request, feed, connection)

    def holds(self, namespace: str, connection: OutgoingConnection) -> bool:
        """Whether a connection is open, or being opened."""
        return connection.begun

    def _check_loop(self, what: str) -> None:
        if not in_loop():
            raise sdk.HoldfastError(
                f"{what} of a handle is for code on the loop; in an @action(thread=True) use c.wait"
            )

    async def _link(self, call: wire.Call, connection: ConnectionCore) -> Link:
        stream: OutgoingConnection = await connection.usable(call.timeout)
        if stream.link is None:
            raise actor_error(HoldfastError(errors.CONNECTION_NOT_FOUND))
        return stream.link

    async def create(self, request: wire.Lifecycle) -> wire.ActorInfo:
        return (await self._create(request, lifecycle.CREATE))[0]

    async def get_or_create(self, request: wire.Lifecycle) -> tuple[wire.ActorInfo, bool]:
        return await self._create(request, lifecycle.GET_OR_CREATE)

    async def destroy(self, request: wire.Lifecycle) -> str:
        await self.earlier_turns()
        try:
            return format_actor_id(
                await self.node.destroy(self._lifecycle(request, lifecycle.DESTROY))
            )
        except HoldfastError as error:
            raise actor_error(error) from None

    async def get(self, request: wire.Lifecycle) -> wire.ActorInfo:
        try:
            actor_id, record = await self.node.lookup.get(self.target(request.target))
        except HoldfastError as error:
            raise actor_error(error) from None
        return _info(actor_id, record)

    async def list_actors(self, query: wire.ListQuery) -> tuple[list[wire.ActorInfo], str]:
        namespace = self.activation.address.namespace
        size = query.page_size or 100
        try:
            after = bytes.fromhex(query.page_token)
        except ValueError:
            raise actor_error(invalid("page_token", "is not from this list")) from None
        try:
            rows, following = await self.node.lookup.list_actors(
                namespace, query.name, query.key_prefix, after, size
            )
        except HoldfastError as error:
            raise actor_error(error) from None
        return [_info(*row) for row in rows], following.hex()

    async def close(self) -> None:
        """Nothing is held."""

    async def earlier_turns(self) -> None:
        """What leaves the actor waits until all that it could tell is synced."""
        try:
            await self.activation.until_synced()
        except HoldfastError as error:
            raise actor_error(error) from None

    async def _create(self, request: wire.Lifecycle, action: str) -> tuple[wire.ActorInfo, bool]:
        await self.earlier_turns()
        try:
            actor_id, record, created = await self.node.create(self._lifecycle(request, action))
        except HoldfastError as error:
            raise actor_error(error) from None
        return _info(actor_id, record), created

    def _lifecycle(self, request: wire.Lifecycle, action: str) -> core.Call:
        turn, target = self.turn, self.target(request.target)
        return core.Call(
            target=target,
            action=action,
            args=target.input,
            deadline=self.deadline(turn, request.timeout),
            trace=passed_on(turn),
            origin=turn,
            caller=self.activation,
        )

    def target(self, target: wire.Target) -> core.Target:
        """Whom a handle names. Raises ActorError."""
        try:
            if target.actor_id is not None:
                return core.Target(
                    actor_id=parse_actor_id(target.actor_id),
                    namespace=self.activation.address.namespace,
                )
            check_key(target.key, "key", self.node.limits)
        except HoldfastError as error:
            raise actor_error(error) from None
        address = Address(self.activation.address.namespace, target.name, target.key)
        return core.Target(address=address, create=target.create, input=_value(target.input))

    def deadline(self, turn: Turn | None, timeout: float | None) -> float | None:
        """When a call must be answered: with its turn, at the latest."""
        ends = [] if timeout is None else [self.node.loop.time() + timeout]
        if turn is not None and turn.deadline is not None:
            ends.append(turn.deadline)
        return min(ends, default=None)

    def _call(self, call: wire.Call, link: Link | None) -> core.Call:
        turn = self.turn
        on = self.target(call.target) if link is None else core.Target(address=link.address)
        return core.Call(
            target=on,
            connection=None if link is None else link.connection_id,
            action=call.action,
            args=_value(call.args),
            kwargs=_value(call.kwargs),
            accept=call.accept,
            deadline=self.deadline(turn, call.timeout),
            trace=passed_on(turn),
            params=self.params(call.params),
            origin=turn,
            caller=self.activation,
        )

    def params(self, params: wire.Encoded | None) -> Value | None:
        """The parameters of a connection. Raises ActorError."""
        limit = self.node.limits.params_bytes_max
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
