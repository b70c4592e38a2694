"""Arguments of an action: bytes to the values its parameters ask for.

The usual call (positional arguments, in JSON or MessagePack) is decoded in one step by
a struct compiled once per action. Whatever that step refuses is bound again, one
argument at a time; only that way knows named arguments and words the errors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from holdfast._annotations import annotation
from holdfast._encoding import JSON, MSGPACK
from holdfast._generics import Environment
from holdfast._walk import complete, undecodable
from holdfast.errors import DecodeError
from holdfast.payload import (
    Encoding,
    TypedDecoder,
    check_decoded,
    compiled,
    decoder,
    untyped,
)

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
Encoded = tuple[int, bytes]
T = TypeVar("T", list[Any], dict[str, Any])


class Parameter(NamedTuple):
    """One parameter after `self` and `c`."""

    name: str
    kind: Any
    type: Any
    required: bool
    default: Any
    decoder: TypedDecoder


def parameters_of(
    function: Callable[..., Any], environment: Environment | None = None
) -> list[Parameter]:
    """The parameters after `self` and `c`; ValueError naming the one that cannot be used."""
    listed = list(inspect.signature(function).parameters.values())
    leading = [p for p in listed[:2] if p.kind in _POSITIONAL]
    if len(leading) < 2:
        raise ValueError("needs the parameters `self` and `c`")
    result = []
    for item in listed[2:]:
        try:
            kind = annotation(function, item.name, environment)
            decode = decoder(kind)
        except Exception as error:
            raise ValueError(f"parameter {item.name!r}: {error}") from error
        foreign = undecodable(kind)
        if foreign is not None:
            raise ValueError(
                f"parameter {item.name!r}: nothing decodes to {foreign.__qualname__}: use a "
                "dataclass, a msgspec Struct, a pydantic model or a plain type"
            )
        required = item.default is inspect.Parameter.empty
        result.append(Parameter(item.name, item.kind, kind, required, item.default, decode))
    return result


class Binder:
    """Binds the arguments of one action."""

    __slots__ = (
        "_by_name", "_checked", "_completed", "_json", "_msgpack", "_needs", "_positional", "_rest",
        "_rest_named", "parameters",
    )  # fmt: skip

    def __init__(self, parameters: list[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self._positional = [p for p in parameters if p.kind in _POSITIONAL]
        self._by_name = {
            p.name: p
            for p in parameters
            if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        }
        # Whether it takes arguments that must be given.
        self._needs = any(
            p.required
            for p in parameters
            if p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        )
        self._rest = _first(parameters, inspect.Parameter.VAR_POSITIONAL)
        self._rest_named = _first(parameters, inspect.Parameter.VAR_KEYWORD)
        self._json: msgspec.json.Decoder[Any] | None = None
        self._msgpack: msgspec.msgpack.Decoder[Any] | None = None
        # The arguments whose decoded values need a second look, in each encoding.
        self._checked: dict[int, list[int]] = {}
        self._completed: list[int] = []
        if len(self._positional) == len(parameters):
            self._compile()

    def _compile(self) -> None:
        fields: list[Any] = [
            (p.name, p.type)
            if p.required
            else (p.name, p.type, msgspec.field(default_factory=_constant(p.default)))
            for p in self._positional
        ]
        struct = msgspec.defstruct(
            "Arguments", fields, array_like=True, forbid_unknown_fields=True, gc=False
        )
        self._json, self._msgpack = compiled(struct)
        self._completed = [
            index for index, p in enumerate(self._positional) if p.decoder.leaves_defaults
        ]
        for encoding in (Encoding.JSON, Encoding.MSGPACK):
            self._checked[int(encoding)] = [
                index for index, p in enumerate(self._positional) if p.decoder.checks(encoding)
            ]

    def bind(
        self, args: Encoded | None, kwargs: Encoded | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call with; raises DecodeError naming the argument."""
        if kwargs is None and args is None and not self._needs:
            return (), {}
        if kwargs is None and args is not None:
            encoding, data = args
            fast: Any = self._msgpack if encoding == MSGPACK else None
            if encoding == JSON:
                fast = self._json
            if fast is not None:
                try:
                    values = msgspec.structs.astuple(fast.decode(data))
                except (ValueError, TypeError, RecursionError):
                    pass  # bound again below, for the error or a number written as text
                else:
                    if checked := self._checked[encoding]:
                        for index in checked:
                            _check(self._positional[index], values[index])
                    if self._completed:
                        for index in self._completed:
                            complete(values[index])
                    return values, {}
        return self._bind_each(args, kwargs)

    def _bind_each(
        self, args: Encoded | None, kwargs: Encoded | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args is not None and args[0] == Encoding.PROTOBUF:
            return self._bind_message(args, kwargs)
        values = _tree(args, list, "an array of arguments")
        named = _tree(kwargs, dict, "a map of named arguments")
        if len(values) > len(self._positional) and self._rest is None:
            raise DecodeError(
                f"too many arguments: takes {len(self._positional)} positional "
                f"arguments, got {len(values)}",
                f"$[{len(self._positional)}]",
            )
        bound: list[Any] = []
        encoding = args[0] if args is not None else Encoding.JSON
        for index, value in enumerate(values):
            known = index < len(self._positional)
            parameter = self._positional[index] if known else self._rest
            assert parameter is not None
            name = parameter.name if known else f"{parameter.name}[{index - len(self._positional)}]"
            bound.append(_convert(parameter, name, value, encoding))
        taken = {p.name for p in self._positional[: len(values)]}
        keyword = self._bind_named(named, taken, kwargs[0] if kwargs is not None else encoding)
        for parameter in self.parameters:
            needed = parameter.required and parameter not in (self._rest, self._rest_named)
            if needed and parameter.name not in taken and parameter.name not in keyword:
                raise DecodeError("missing", parameter.name, parameter.name)
        return tuple(bound), keyword

    def _bind_named(self, named: dict[str, Any], taken: set[str], encoding: int) -> dict[str, Any]:
        result = {}
        for name, value in named.items():
            parameter = self._by_name.get(name, self._rest_named)
            if parameter is None:
                raise DecodeError("no such argument", name, name)
            if name in taken and name in self._by_name:
                raise DecodeError("given twice, by position and by name", name, name)
            if name in ("self", "c"):
                raise DecodeError("no such argument", name, name)
            result[name] = _convert(parameter, name, value, encoding)
        return result

    def _bind_message(
        self, args: Encoded, kwargs: Encoded | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs is not None and kwargs[1]:
            raise DecodeError("encoding protobuf carries no named arguments", "$")
        required = [p for p in self.parameters if p.required]
        if len(self._positional) == 0 or len(required) > 1:
            raise DecodeError("encoding protobuf needs an action with exactly one parameter", "$")
        parameter = self._positional[0]
        try:
            return (parameter.decoder.decode(args[1], args[0]),), {}
        except DecodeError as error:
            if hasattr(parameter.type, "FromString"):
                raise  # the bytes are no such message, which is no fault of an argument
            raise _named(error, parameter.name) from error


def _first(parameters: list[Parameter], kind: Any) -> Parameter | None:
    return next((p for p in parameters if p.kind is kind), None)


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _tree(value: Encoded | None, kind: type[T], wanted: str) -> T:
    """The untyped arguments of a payload, nothing when it is absent."""
    if value is None or not value[1]:
        return kind()
    tree = untyped(value[1], value[0])
    if not isinstance(tree, kind):
        raise DecodeError(f"expected {wanted}", "$")
    if isinstance(tree, dict) and not all(isinstance(name, str) for name in tree):
        raise DecodeError(f"expected {wanted}: a name is text", "$")
    return tree


def _check(parameter: Parameter, value: Any) -> None:
    try:
        check_decoded(value)
    except DecodeError as error:
        raise _named(error, parameter.name) from error
    except RecursionError as error:
        raise DecodeError("nested too deeply", parameter.name, parameter.name) from error


def _convert(parameter: Parameter, name: str, value: Any, encoding: int) -> Any:
    try:
        return parameter.decoder.convert(value, encoding)
    except DecodeError as error:
        raise _named(error, name) from error


def _named(error: DecodeError, name: str) -> DecodeError:
    return DecodeError(error.message, name + error.path.removeprefix("$"), name)
