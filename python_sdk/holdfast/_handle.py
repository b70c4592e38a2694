"""Handles: what a client calls an actor through.

A handle is a target and options, nothing else; making one costs no call. With a
known class its actions are found by their Python names and results are decoded
to the types the class declares; without, every name is an action of the wire.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from holdfast import payload
from holdfast._transport import Call, Encoded, Lifecycle, Target
from holdfast.actor import CLIENT_MEMBERS, Action
from holdfast.errors import EncodeError

if TYPE_CHECKING:
    from holdfast.client import BaseClient


@dataclass(frozen=True, slots=True)
class KnownAction:
    """An action as far as a caller cares."""

    name: str
    streaming: bool
    result_type: Any


@dataclass(frozen=True, slots=True)
class Options:
    """What `with_options` sets; None means the client's default."""

    idempotency_key: str | None = None
    timeout: float | None = None
    encoding: int | None = None


def encoding_number(encoding: str | int) -> int:
    """The number of an encoding that is given by number or name."""
    names = {member.name.lower(): int(member) for member in payload.Encoding}
    number = names.get(encoding) if isinstance(encoding, str) else int(encoding)
    if number not in names.values():
        raise ValueError(f"unknown encoding {encoding!r}: one of {', '.join(names)}")
    assert number is not None
    return number


def _result_type(function: Callable[..., Any], streaming: bool) -> Any:
    try:
        result = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except Exception:
        # A name that exists only for the type checker: the result stays untyped.
        return Any
    if streaming:
        items = typing.get_args(result)
        return items[0] if items else Any
    return result


@lru_cache(maxsize=1024)
def known_actions(cls: type) -> Mapping[str, KnownAction]:
    """The actions of an actor class by their Python names."""
    found: dict[str, KnownAction] = {}
    for attribute in dir(cls):
        member = inspect.getattr_static(cls, attribute)
        if isinstance(member, Action):
            function: Callable[..., Any] = member.function
            streaming = inspect.isasyncgenfunction(function)
            result_type = _result_type(function, streaming)
            found[attribute] = KnownAction(member.name, streaming, result_type)
    return found


@lru_cache(maxsize=1024)
def _by_wire_name(cls: type) -> Mapping[str, KnownAction]:
    return {action.name: action for action in known_actions(cls).values()}


def encode_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], encoding: int
) -> tuple[Encoded | None, Encoded | None]:
    """The two payloads of a call's arguments; None for no arguments."""
    if encoding == payload.Encoding.PROTOBUF:
        if len(args) > 1 or kwargs:
            raise EncodeError("the encoding protobuf carries exactly one positional message", "$")
        return (Encoded(encoding, payload.encode(args[0], encoding)) if args else None), None
    return (
        Encoded(encoding, payload.encode(list(args), encoding)) if args else None,
        Encoded(encoding, payload.encode(kwargs, encoding)) if kwargs else None,
    )


def decode_result(value: Encoded | None, result_type: Any) -> Any:
    """The Python value of a result; None when there is none."""
    if value is None or value.encoding == 0:
        return None
    return payload.decode(value.data, value.encoding, result_type)


class ActorHandle:
    """Calls the actions of one actor; made by a client, see the module."""

    __slots__ = ("_client", "_cls", "_options", "_target")

    def __init__(
        self,
        client: BaseClient,
        target: Target,
        cls: type | None = None,
        options: Options | None = None,
    ) -> None:
        self._client = client
        self._target = target
        self._cls = cls
        self._options = Options() if options is None else options

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
    ) -> ActorHandle:
        """The same actor with these options; those that are None stay as they are.

        `encoding` is a member of `Encoding` or its name, "json".
        """
        number = None if encoding is None else encoding_number(encoding)
        given = {"idempotency_key": idempotency_key, "timeout": timeout, "encoding": number}
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        options = replace(self._options, **changed)
        return ActorHandle(self._client, self._target, self._cls, options)

    async def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action by its wire name."""
        return await self._invoke(self._known(name, streaming=False), args, kwargs)

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Run a streaming action by its wire name."""
        return self._stream(self._known(name, streaming=True), args, kwargs)

    async def resolve(self) -> str:
        """The actor's id; creates the actor if the handle is from get_or_create."""
        if self._target.actor_id is not None:
            return self._target.actor_id
        request = Lifecycle(
            namespace=self._client.namespace,
            target=self._target,
            idempotency_key=self._options.idempotency_key if self._target.create else None,
            timeout=self._timeout(),
        )
        if self._target.create:
            return (await self._client.transport.get_or_create(request))[0].actor_id
        return (await self._client.transport.get(request)).actor_id

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name in CLIENT_MEMBERS:
            raise AttributeError(name)
        if self._cls is None:
            action = KnownAction(name, streaming=False, result_type=Any)
        else:
            known = known_actions(self._cls).get(name)
            if known is None:
                raise AttributeError(f"{self._cls.__name__} has no action {name!r}")
            action = known

        def run(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any] | AsyncIterator[Any]:
            if action.streaming:
                return self._stream(action, args, kwargs)
            return self._invoke(action, args, kwargs)

        return run

    def __repr__(self) -> str:
        target = self._target
        if target.actor_id is not None:
            return f"<actor {target.actor_id}>"
        return f"<actor {target.name} {list(target.key)}>"

    def _known(self, name: str, *, streaming: bool) -> KnownAction:
        known = _by_wire_name(self._cls).get(name) if self._cls is not None else None
        # The caller says which kind it wants; the server refuses the wrong one.
        if known is None or known.streaming != streaming:
            return KnownAction(name, streaming, Any)
        return known

    def _timeout(self) -> float | None:
        own = self._options.timeout
        return self._client.timeout if own is None else own

    def _call(self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        own = self._options.encoding
        encoding = int(self._client.encoding if own is None else own)
        positional, named = encode_arguments(args, kwargs, encoding)
        return Call(
            namespace=self._client.namespace,
            target=self._target,
            action=action.name,
            args=positional,
            kwargs=named,
            accept=encoding,
            idempotency_key=self._options.idempotency_key,
            timeout=self._timeout(),
        )

    async def _invoke(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        reply = await self._client.transport.invoke(self._call(action, args, kwargs))
        return decode_result(reply.result, action.result_type)

    async def _stream(
        self, action: KnownAction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        items = self._client.transport.stream(self._call(action, args, kwargs))
        try:
            async for item in items:
                yield decode_result(item, action.result_type)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()


__all__ = ["ActorHandle", "KnownAction", "Options", "decode_result", "known_actions"]
