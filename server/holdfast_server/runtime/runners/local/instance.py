"""One live actor: its user object, its state, its vars, and how handlers run."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from holdfast import payload
from holdfast._events import EventSpec
from holdfast.actor import Actor
from holdfast.context import Context
from holdfast.registry import ActionSpec, ActorType
from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.connections import Conn
from holdfast_server.runtime.runners.local import connect_hooks
from holdfast_server.runtime.runners.local.arguments import bind, encode
from holdfast_server.runtime.runners.local.connections import drop_states, take_states
from holdfast_server.runtime.runners.local.current import enter_turn, leave_turn
from holdfast_server.runtime.runners.local.failure import ended_from_outside, outward
from holdfast_server.runtime.runners.local.handling import handling
from holdfast_server.runtime.runners.local.host import LocalHost
from holdfast_server.runtime.runners.local.raw_request import LocalRequest
from holdfast_server.runtime.runners.local.raw_socket import LocalSocket
from holdfast_server.runtime.runners.local.state import UNSET, LiveState
from holdfast_server.runtime.runners.local.stream import LocalStream
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.requesting import Incoming
    from holdfast_server.runtime.runners.local.runner import LocalInfo, LocalRunner
    from holdfast_server.runtime.serving import SocketLink

log = logging.getLogger("holdfast.actor")


class LocalInstance:
    """Instance over an SDK Actor."""

    __slots__ = ("_info", "_state", "activation", "actor", "actor_id", "vars")

    def __init__(self, activation: Activation, info: LocalInfo) -> None:
        self.activation = activation
        self.actor_id = activation.actor_id
        self._info = info
        codec = info.type.state_codec
        self._state = LiveState(codec) if codec is not None else None
        self.vars: Any = UNSET
        self.actor: Actor[Any, Any] = info.type.cls()

    @property
    def type(self) -> ActorType:
        """The class, as it was registered."""
        return self._info.type

    @property
    def runner(self) -> LocalRunner:
        return cast("LocalRunner", self.activation.node.runner)

    # Events

    def declared_event(self, name: str) -> EventSpec | None:
        """What the class says of an event; None for one that it does not declare."""
        return self._info.type.events.get(name)

    async def can_subscribe(self, turn: Turn, name: str, connection: bytes | None) -> bool:
        event = self.declared_event(name)
        assert event is not None
        assert event.can_subscribe is not None
        what = f"can_subscribe of event {name}"
        context: Context[Any, Any] = Context(LocalHost(self, turn))
        with handling(turn, what):
            allowed = event.can_subscribe(self.actor, context)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if not isinstance(allowed, bool):
                raise TypeError(f"{what} returned {type(allowed).__name__}, not a bool")
            return allowed

    # State

    def _declared_state(self) -> LiveState:
        if self._state is None:
            raise HoldfastError(
                errors.NOT_ENABLED, "the class defines no state", metadata={"what": "state"}
            )
        return self._state

    def get_vars(self) -> Any:
        if self.vars is UNSET:
            raise HoldfastError(
                errors.NOT_ENABLED, "the class defines no vars", metadata={"what": "vars"}
            )
        return self.vars

    def get_state(self, turn: Turn) -> Any:
        state = self._state or self._declared_state()
        return state.get(turn, self.activation.mailbox)

    def set_state(self, turn: Turn, value: Any) -> None:
        turn.check_change()
        self._declared_state().set(turn, value)

    def take_state(self, turn: Turn) -> tuple[int, bytes] | None:
        # A commit that was refused has left its encoding: it is not what is kept now.
        turn.encoded = None
        state = self._state
        data = state.take(turn) if state is not None else None
        if state is None or data is None:
            return None
        if self._info.watches_state:
            self._tell_of_change(turn, state)
            data = state.take(turn)
            if data is None:
                return None
        limit = self.activation.node.limits.state_bytes_max
        if len(data) > limit:
            raise HoldfastError(
                errors.STATE_TOO_LARGE,
                f"state of {len(data)} bytes; at most {limit}",
                metadata={"limit": str(limit), "size": str(len(data))},
            )
        turn.encoded = data
        return self._info.type.cls.state_schema_version, data

    def _tell_of_change(self, turn: Turn, state: LiveState) -> None:
        token = enter_turn(turn)
        try:
            self.actor.on_state_change(Context(LocalHost(self, turn)), state.live)
        except BaseException as error:
            if ended_from_outside(error):
                raise
            raise outward(error, "on_state_change", self.activation.address) from error
        finally:
            leave_turn(token)

    def keep_state(self, turn: Turn) -> None:
        assert self._state is not None
        assert turn.encoded is not None
        self._state.keep(turn.encoded)
        turn.encoded = None

    def rollback(self, turn: Turn) -> None:
        turn.encoded = None
        if self._state is not None:
            self._state.rollback(turn)
        drop_states(turn)

    # Start and end

    async def start(
        self, turn: Turn, stored: tuple[int, bytes] | None, value: Value | None, created: bool
    ) -> None:
        context: Context[Any, Any] = Context(LocalHost(self, turn))
        actor, actor_type = self.actor, self._info.type
        if created:
            given = self._info.input_of(value)
            if actor_type.has_hook("create_state"):
                made = await self._hook(
                    "create_state", turn, lambda: actor.create_state(context, given)
                )
                self._declared_state().set(turn, made)
            elif self._state is not None:
                self._state.set(turn, actor_type.make_state())
            if actor_type.has_hook("on_create"):
                await self._hook("on_create", turn, lambda: actor.on_create(context, given))
        elif stored is not None and self._state is not None:
            self._load(turn, self._state, *stored)
        if actor_type.has_hook("create_vars"):
            self.vars = await self._hook("create_vars", turn, lambda: actor.create_vars(context))
        elif actor_type.has_vars:
            self.vars = actor_type.make_vars()
        if actor_type.has_hook("on_wake"):
            await self._hook("on_wake", turn, lambda: actor.on_wake(context))

    def _load(self, turn: Turn, state: LiveState, version: int, data: bytes) -> None:
        try:
            if version == self._info.type.cls.state_schema_version:
                state.load(data)
            else:
                old = payload.decode(data, payload.Encoding.MSGPACK)
                state.set(turn, self.actor.migrate_state(version, old))
        except BaseException as error:
            if ended_from_outside(error):
                raise
            log.exception("state of %s does not decode", self.activation.address)
            raise HoldfastError(errors.STATE_UNDECODABLE, f"stored state: {error}") from None

    async def on_destroy(self, turn: Turn) -> None:
        if self._info.type.has_hook("on_destroy"):
            context: Context[Any, Any] = Context(LocalHost(self, turn))
            try:
                await self._hook("on_destroy", turn, lambda: self.actor.on_destroy(context))
            except HoldfastError as error:
                log.error("on_destroy of %s: %s", self.activation.address, error)
        await connect_hooks.disconnect_all(self, turn)

    # Raw requests and WebSockets

    def on_request(self, course: Course, incoming: Incoming) -> Coroutine[Any, Any, None]:
        return LocalRequest(self, course, incoming).run()

    def on_websocket(self, course: Course, link: SocketLink) -> Coroutine[Any, Any, None]:
        return LocalSocket(self, course, link).run()

    # Sleep and background work

    async def on_sleep(self, turn: Turn) -> None:
        with handling(turn, "on_sleep"):
            await self.actor.on_sleep(Context(LocalHost(self, turn)))

    async def run(self) -> None:
        await self.actor.run(Context(LocalHost(self, None)))

    @property
    def state_bytes(self) -> int:
        state = self._state
        return 0 if state is None or state.encoded is None else len(state.encoded)

    async def _hook(
        self, name: str, turn: Turn, run: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Run a hook of the start or the end within its time limit."""
        limit_s, address = self.activation.node.limits.hook_timeout_s, self.activation.address
        turn.task = asyncio.current_task(self.activation.node.loop)
        token = enter_turn(turn)
        try:
            async with asyncio.timeout(limit_s) as timer:
                return await run()
        except BaseException as error:
            if ended_from_outside(error):
                raise
            if isinstance(error, TimeoutError) and timer.expired():
                log.error("%s of %s took longer than %s s", name, address, limit_s)
            else:
                known = outward(error, name, address)
                if known.reason is not errors.INTERNAL_ERROR:
                    raise known from error
            raise HoldfastError(
                errors.ACTOR_START_FAILED,
                f"{name} failed: {type(error).__name__}",
                metadata={"hook": name},
            ) from None
        finally:
            leave_turn(token)

    # Connections

    def preflight(self, turn: Turn, params: Value | None) -> Coroutine[Any, Any, bytes]:
        return connect_hooks.preflight(self, turn, params)

    def first_conn_state(self) -> bytes:
        return connect_hooks.first_state(self)

    def on_connect(self, turn: Turn, conn: Conn) -> Coroutine[Any, Any, None]:
        return connect_hooks.on_connect(self, turn, conn)

    def on_disconnect(self, turn: Turn, conn: Conn) -> Coroutine[Any, Any, None]:
        return connect_hooks.on_disconnect(self, turn, conn)

    def take_conn_states(self, turn: Turn, used: list[Conn]) -> list[tuple[Conn, bytes]]:
        return take_states(self, turn, used)

    # Actions

    def invoke(self, turn: Turn, call: Call) -> Value | Coroutine[Any, Any, Value]:
        action = self._info.action(call.action)
        spec = action.spec
        args, kwargs = bind(spec, call)
        context: Context[Any, Any] = Context(LocalHost(self, turn))
        if action.waits:
            return self._await(spec, turn, context, args, kwargs, call)
        turn.plain = True
        token = enter_turn(turn)
        try:
            result = spec.function(self.actor, context, *args, **kwargs)
            if spec.kind == "async":
                result = _run(result)
            return encode(spec, result, call)
        except BaseException as error:
            if ended_from_outside(error):
                raise
            raise self._outward(error, call) from error
        finally:
            leave_turn(token)

    async def _await(
        self,
        spec: ActionSpec,
        turn: Turn,
        context: Context[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Call,
    ) -> Value:
        turn.task = asyncio.current_task(self.activation.node.loop)
        token = enter_turn(turn)
        try:
            if spec.thread:
                run = contextvars.copy_context().run
                threads = self.activation.node.environment.threads
                work = threads.action(
                    lambda: run(_in_thread, spec.function, self.actor, context, args, kwargs)
                )
                result = await asyncio.wrap_future(work)
            else:
                result = spec.function(self.actor, context, *args, **kwargs)
                if spec.kind == "async":
                    result = await result
            if self._info.transforms:
                result = await self._transform(context, call.action, args, result)
            return encode(spec, result, call)
        except BaseException as error:
            if ended_from_outside(error):
                raise
            raise self._outward(error, call) from error
        finally:
            leave_turn(token)

    async def _transform(
        self, context: Context[Any, Any], name: str, args: tuple[Any, ...], result: Any
    ) -> Any:
        try:
            return await self.actor.on_before_action_response(context, name, args, result)
        except BaseException as error:
            if ended_from_outside(error):
                raise
            log.exception("on_before_action_response of %s", self.activation.address)
            return result

    def open_stream(self, call: Call) -> LocalStream:
        return LocalStream(self, self._info.action(call.action).spec, call)

    def _outward(self, error: BaseException, call: Call) -> HoldfastError:
        return outward(error, f"action {call.action}", self.activation.address)


def _run(handler: Coroutine[Any, Any, Any]) -> Any:
    """The result of a handler that never waits."""
    try:
        handler.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a handler without `await` waits")


def _in_thread(
    function: Callable[..., Any], actor: object, c: object, args: Any, kwargs: dict[str, Any]
) -> Any:
    try:
        return function(actor, c, *args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it: whoever awaited that would wait for ever.
        raise RuntimeError("the action raised StopIteration") from error
