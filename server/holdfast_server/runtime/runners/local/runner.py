"""The registry's classes as the runtime sees them, and the maker of instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast.actor import Actor
from holdfast.registry import ActionSpec, ActorType
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.core.mailbox import Bounds
from holdfast_server.core.tally import ActorTally, CallTally
from holdfast_server.core.values import Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.runners.api import ConnectHooks, RawHandlers
from holdfast_server.runtime.runners.local.instance import LocalInstance
from holdfast_server.runtime.runners.local.state import not_encodable


class LocalAction:
    """ActionInfo over an SDK ActionSpec."""

    __slots__ = (
        "buffered",
        "interleave",
        "read_only",
        "spec",
        "streaming",
        "tally",
        "timeout_s",
        "waits",
    )

    def __init__(
        self, spec: ActionSpec, cls: type[Actor[Any, Any]], timeout_s: float, transforms: bool
    ) -> None:
        self.spec = spec
        self.read_only = spec.read_only
        # A thread beside turns on the loop would race them for the live state.
        self.interleave = (spec.interleave or cls.interleave) and not spec.thread
        self.streaming = spec.kind == "stream"
        self.buffered = (spec.durability or cls.durability) == "buffered"
        self.waits = spec.waits or transforms
        self.timeout_s = timeout_s if spec.timeout_s is None else spec.timeout_s
        self.tally = CallTally()


def _option(cls: type[Actor[Any, Any]], name: str, default: Any) -> Any:
    """An option of a class; what the server is set to where the class says nothing."""
    for base in cls.__mro__:
        if base is Actor:
            break
        if name in vars(base):
            return vars(base)[name]
    return default


class LocalInfo:
    """ActorInfo over an SDK ActorType."""

    def __init__(self, actor_type: ActorType, limits: Limits) -> None:
        self.type = actor_type
        self.name = actor_type.name
        cls = actor_type.cls
        self.sleep_timeout_s = float(_option(cls, "sleep_timeout_s", limits.sleep_timeout_s))
        timeout_s = float(_option(cls, "action_timeout_s", limits.action_timeout_s))
        self.bounds = Bounds(cls.mailbox_max or limits.mailbox_max, limits.read_only_max)
        self.state_ttl_s = actor_type.state_ttl_s
        self.interleave = cls.interleave
        self.reentrant = cls.reentrant
        has = actor_type.has_hook
        self.connect_hooks = ConnectHooks(
            has("on_before_connect") or has("create_conn_state"),
            has("on_connect"),
            has("on_disconnect"),
        )
        self.raw = RawHandlers(
            has("on_request"),
            has("on_websocket"),
            cls.hibernate_websockets,
            timeout_s,
            cls.durability == "buffered",
        )
        self.hibernate_connections = cls.hibernate_connections
        self.no_sleep = cls.no_sleep
        self.has_on_sleep = actor_type.has_hook("on_sleep")
        self.has_run = actor_type.has_hook("run")
        self.transforms = actor_type.has_hook("on_before_action_response")
        self.watches_state = actor_type.has_hook("on_state_change")
        self.guarded_events = frozenset(
            name for name, event in actor_type.events.items() if event.can_subscribe is not None
        )
        self.tally = ActorTally()
        self.actions: Mapping[str, LocalAction] = {
            name: LocalAction(spec, cls, timeout_s, self.transforms)
            for name, spec in actor_type.actions.items()
        }

    def action(self, name: str) -> LocalAction:
        action = self.actions.get(name)
        if action is None:
            raise HoldfastError(
                errors.ACTION_NOT_FOUND,
                f"actor {self.name!r} has no action {name[:128]!r}",
                metadata={"action": name[:128]},
            )
        return action

    def find_action(self, name: str) -> LocalAction | None:
        return self.actions.get(name)

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
        self._infos = {
            name: LocalInfo(actor_type, node.limits) for name, actor_type in types.items()
        }
        self.node = node
        self.name_of: dict[type, str] = {actor_type.cls: name for name, actor_type in types.items()}

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
        return LocalInstance(activation, self.info(activation.info.name))

    def transcode(self, value: Value, encoding: int) -> Value:
        try:
            plain = payload.decode(value.data, value.encoding)
            return Value(encoding, payload.encode(plain, encoding))
        except sdk.EncodeError as error:
            raise not_encodable(error) from None
