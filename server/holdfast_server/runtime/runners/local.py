"""Runs actors in this process: the one place that knows the SDK's classes.

`LocalInstance` holds the live actor: user object, state, the last encoding of
the state, vars. A failed turn drops the live state, which is decoded again from
the last encoding when next wanted. Whether a turn changed the state is found by
comparing encodings, and only if the handler touched it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast.actor import Actor
from holdfast.context import Context
from holdfast.registry import ActionSpec, ActorType
from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.runners.host import LocalHost, enter_turn, leave_turn, user_error
from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.actor")

_UNSET: Any = object()


class LocalAction:
    """ActionInfo over an SDK ActionSpec."""

    __slots__ = ("buffered", "interleave", "read_only", "spec", "streaming", "timeout_s")

    def __init__(self, spec: ActionSpec, cls: type[Actor[Any, Any]]) -> None:
        self.spec = spec
        self.read_only = spec.read_only
        self.interleave = spec.interleave or cls.interleave
        self.streaming = spec.kind == "stream"
        self.buffered = (spec.durability or cls.durability) == "buffered"
        self.timeout_s = spec.timeout_s if spec.timeout_s is not None else cls.action_timeout_s


class LocalInfo:
    """ActorInfo over an SDK ActorType."""

    def __init__(self, actor_type: ActorType) -> None:
        self.type = actor_type
        self.name = actor_type.name
        cls = actor_type.cls
        self.sleep_timeout_s = float(cls.sleep_timeout_s)
        self.mailbox_max = cls.mailbox_max
        self.reentrant = cls.reentrant
        self._actions = {name: LocalAction(spec, cls) for name, spec in actor_type.actions.items()}

    def action(self, name: str) -> LocalAction:
        action = self._actions.get(name)
        if action is None:
            raise HoldfastError(
                errors.ACTION_NOT_FOUND,
                f"actor {self.name!r} has no action {name[:128]!r}",
                metadata={"action": name[:128]},
            )
        return action

    def check_input(self, value: Value | None) -> None:
        if value is not None:
            self.input_of(value)

    def input_of(self, value: Value | None) -> Any:
        if value is None:
            return None
        try:
            return self.type.decode_input(value.encoding, value.data)
        except sdk.DecodeError as error:
            raise HoldfastError(errors.ACTOR_INVALID_INPUT, f"input: {error}") from None

    def describe(self) -> Mapping[str, Any]:
        return self.type.describe()


class LocalRunner:
    """Makes instances of the registry's classes."""

    def __init__(self, types: Mapping[str, ActorType], node: Node) -> None:
        self._infos = {name: LocalInfo(actor_type) for name, actor_type in types.items()}
        self._node = node
        self.name_of = {actor_type.cls: name for name, actor_type in types.items()}

    def info(self, name: str) -> LocalInfo:
        info = self._infos.get(name)
        if info is None:
            raise HoldfastError(
                errors.ACTOR_NAME_NOT_FOUND,
                f"no actor class is registered as {name[:64]!r}",
                metadata={"name": name[:64]},
            )
        return info

    def names(self) -> list[str]:
        return list(self._infos)

    def make(self, activation: Activation) -> LocalInstance:
        return LocalInstance(activation, self.info(activation.info.name), self)


class LocalInstance:
    """One live actor."""

    __slots__ = (
        "_encoded",
        "_info",
        "_state",
        "_touched",
        "activation",
        "actor",
        "runner",
        "vars",
    )

    def __init__(self, activation: Activation, info: LocalInfo, runner: LocalRunner) -> None:
        self.activation = activation
        self.runner = runner
        self._info = info
        self._encoded: bytes | None = None
        self._state: Any = _UNSET
        self._touched = False
        self.vars: Any = _UNSET
        self.actor: Actor[Any, Any] = info.type.cls()

    # State

    def get_state(self, turn: Turn) -> Any:
        codec = self._info.type.state_codec
        if codec is None:
            raise HoldfastError(
                errors.NOT_ENABLED, "the class defines no state", metadata={"what": "state"}
            )
        self._touched = True
        if self._state is _UNSET:
            if self._encoded is None:
                raise HoldfastError(errors.NOT_ENABLED, "the state is not created yet")
            self._state = codec.decode(self._encoded)
        return self._state

    def set_state(self, turn: Turn, value: Any) -> None:
        turn.check_change()
        self._touched = True
        self._state = value

    def take_state(self, turn: Turn) -> tuple[int, bytes] | None:
        if not self._touched or self._state is _UNSET:
            return None
        data = self._encode()
        if data == self._encoded:
            self._touched = False
            return None
        if turn.mode is Mode.READ_ONLY:
            raise HoldfastError(errors.READ_ONLY, "a read-only action changed the state")
        if self._info.type.has_hook("on_state_change") and not turn.destroyed:
            host = LocalHost(self, turn)
            self.actor.on_state_change(Context(host), self._state)
            data = self._encode()
        limit = self.activation.node.limits.state_bytes_max
        if len(data) > limit:
            raise HoldfastError(
                errors.STATE_TOO_LARGE,
                f"state of {len(data)} bytes; at most {limit}",
                metadata={"limit": str(limit), "size": str(len(data))},
            )
        self._encoded = data
        self._touched = False
        return self._info.type.cls.state_schema_version, data

    def rollback(self) -> None:
        if self._touched:
            self._state = _UNSET
            self._touched = False

    def _encode(self) -> bytes:
        codec = self._info.type.state_codec
        assert codec is not None
        try:
            data: bytes = codec.encode(self._state)
        except sdk.EncodeError as error:
            raise _not_encodable(error) from None
        return data

    # Start and end

    async def start(
        self, turn: Turn, stored: tuple[int, bytes] | None, value: Value | None, created: bool
    ) -> None:
        context: Context[Any, Any] = Context(LocalHost(self, turn))
        actor, actor_type = self.actor, self._info.type
        if created:
            given = self._info.input_of(value)
            if actor_type.has_hook("create_state"):
                self._state = await self._hook(
                    "create_state", turn, lambda: actor.create_state(context, given)
                )
                self._touched = True
            elif actor_type.state_codec is not None:
                self._state = actor_type.make_state()
                self._touched = True
            if actor_type.has_hook("on_create"):
                await self._hook("on_create", turn, lambda: actor.on_create(context, given))
        elif stored is not None:
            await self._load(*stored)
        if actor_type.has_hook("create_vars"):
            self.vars = await self._hook("create_vars", turn, lambda: actor.create_vars(context))
        else:
            self.vars = actor_type.make_vars()
        if actor_type.has_hook("on_wake"):
            await self._hook("on_wake", turn, lambda: actor.on_wake(context))

    async def _load(self, version: int, data: bytes) -> None:
        actor_type = self._info.type
        codec = actor_type.state_codec
        if codec is None:
            return
        try:
            if version != actor_type.cls.state_schema_version:
                old = payload.decode(data, payload.Encoding.MSGPACK)
                self._state = self.actor.migrate_state(version, old)
                self._touched = True
            else:
                self._encoded = data
                self._state = codec.decode(data)
        except Exception as error:
            log.exception("state of %s does not decode", self.activation.address)
            raise HoldfastError(errors.STATE_UNDECODABLE, f"stored state: {error}") from None

    async def on_destroy(self, turn: Turn) -> None:
        if self._info.type.has_hook("on_destroy"):
            context: Context[Any, Any] = Context(LocalHost(self, turn))
            try:
                await self._hook("on_destroy", turn, lambda: self.actor.on_destroy(context))
            except HoldfastError as error:
                log.error("on_destroy of %s: %s", self.activation.address, error)

    async def _hook(
        self, name: str, turn: Turn, run: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Run a start or destroy hook within its time limit."""
        token = enter_turn(turn)
        try:
            async with asyncio.timeout(self.activation.node.limits.hook_timeout_s):
                return await run()
        except sdk.UserError as error:
            raise user_error(error) from None
        except Exception as error:
            log.exception("%s of %s failed", name, self.activation.address)
            raise HoldfastError(
                errors.ACTOR_START_FAILED,
                f"{name} failed: {type(error).__name__}",
                metadata={"hook": name},
            ) from None
        finally:
            leave_turn(token)

    # Actions

    def invoke(self, turn: Turn, call: Call) -> Value | Awaitable[Value]:
        action = self._info.action(call.action)
        spec = action.spec
        args, kwargs = bind(spec, call)
        host = LocalHost(self, turn)
        context: Context[Any, Any] = Context(host)
        if spec.kind == "plain" and not spec.thread and not self._transforms:
            token = enter_turn(turn)
            try:
                return encode(spec, spec.function(self.actor, context, *args, **kwargs), call)
            except Exception as error:
                raise self.translate(error, call.action) from error
            finally:
                leave_turn(token)
        return self._await(spec, host, context, args, kwargs, call)

    @property
    def _transforms(self) -> bool:
        return self._info.type.has_hook("on_before_action_response")

    async def _await(
        self,
        spec: ActionSpec,
        host: LocalHost,
        context: Context[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Call,
    ) -> Value:
        turn = host.current
        assert turn is not None
        token = enter_turn(turn)
        try:
            if spec.thread:
                host.in_thread = True
                threads = self.activation.node.environment.threads
                work = threads.action(lambda: spec.function(self.actor, context, *args, **kwargs))
                result = await asyncio.wrap_future(work)
            else:
                result = spec.function(self.actor, context, *args, **kwargs)
                if spec.kind == "async":
                    result = await result
            if self._transforms:
                result = await self._transform(context, call.action, args, result)
            return encode(spec, result, call)
        except Exception as error:
            raise self.translate(error, call.action) from error
        finally:
            leave_turn(token)

    async def _transform(
        self, context: Context[Any, Any], name: str, args: tuple[Any, ...], result: Any
    ) -> Any:
        try:
            return await self.actor.on_before_action_response(context, name, args, result)
        except Exception:
            log.exception("on_before_action_response of %s", self.activation.address)
            return result

    def open_stream(self, call: Call) -> LocalStream:
        action = self._info.action(call.action)
        return LocalStream(self, action.spec, call)

    def translate(self, error: Exception, action: str) -> Exception:
        """What a caller may know of an exception out of a handler."""
        if isinstance(error, sdk.UserError):
            return user_error(error)
        if isinstance(error, HoldfastError | TimeoutError):
            return error
        if isinstance(error, sdk.EncodeError):
            return _not_encodable(error)
        address = self.activation.address
        log.error("action %s of %s failed", action, address, exc_info=error)
        return HoldfastError(errors.INTERNAL_ERROR)


class LocalStream:
    """A streaming action: the async generator and its host."""

    __slots__ = ("_call", "_host", "_instance", "_items", "_spec")

    def __init__(self, instance: LocalInstance, spec: ActionSpec, call: Call) -> None:
        self._instance = instance
        self._spec = spec
        self._call = call
        self._host = LocalHost(instance, None)
        args, kwargs = bind(spec, call)
        context: Context[Any, Any] = Context(self._host)
        self._items = spec.function(instance.actor, context, *args, **kwargs)

    async def step(self, turn: Turn) -> Value | None:
        self._host.current = turn
        token = enter_turn(turn)
        try:
            item = await anext(self._items)
            return encode(self._spec, item, self._call)
        except StopAsyncIteration:
            return None
        except Exception as error:
            raise self._instance.translate(error, self._call.action) from error
        finally:
            leave_turn(token)

    async def close(self, turn: Turn) -> None:
        self._host.current = turn
        await self._items.aclose()


def bind(spec: ActionSpec, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return spec.bind(call.args, call.kwargs)
    except sdk.DecodeError as error:
        if error.argument is None:
            raise HoldfastError(errors.PAYLOAD_MALFORMED, str(error)) from None
        raise HoldfastError(
            errors.ACTION_INVALID_ARGUMENT, str(error), metadata={"argument": error.argument}
        ) from None


def encode(spec: ActionSpec, result: Any, call: Call) -> Value:
    encoding = call.result_encoding
    return Value(encoding, spec.encode_result(result, encoding))


def _not_encodable(error: sdk.EncodeError) -> HoldfastError:
    return HoldfastError(errors.VALUE_NOT_ENCODABLE, str(error), metadata={"path": error.path})
