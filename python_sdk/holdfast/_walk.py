"""Walking values: the parts of a container, the path of a failing part, what a type contains.

Paths look like `$.a.b[0]`; a dict key that is no identifier is written `["a b"]`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect as mi

from holdfast.bigint import BigInt

PATH_DEPTH_MAX = 100
# What untyped payloads decode to: a class of which one of these is an instance can be asked for.
_DECODED = (str, int, float, bytes, list, dict, datetime)
_LEAVES = (str, bytes, bytearray, memoryview, int, float, bool, type(None))


def step(key: object) -> str:
    """The piece of a path that leads to one key of a dict."""
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
    return f"[{key!r}]"


def is_pydantic(kind: Any) -> bool:
    """Whether a class is a pydantic model, without importing pydantic."""
    # A pydantic dataclass has a validator too, but is a dataclass in all other ways.
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate")


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its piece of the path; nothing for a leaf."""
    kind = type(value)
    if kind in _LEAVES:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield step(key), item
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield "[]", item
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)
    elif is_pydantic(kind):
        for name, item in value:
            yield f".{name}", item


def locate(value: Any, path: str, fails: Callable[[Any], bool]) -> tuple[str, Any]:
    """The path of the innermost part for which `fails` is true, and that part.

    Only called after a failure, so its cost does not matter; the depth is bounded
    because a value may contain itself.
    """
    for _ in range(PATH_DEPTH_MAX):
        for piece, item in children(value):
            if fails(item):
                path, value = path + piece, item
                break
        else:
            break
    return path, value


def difference(
    before: Any, after: Any, path: str, *, typed: bool = False
) -> tuple[str, Any, Any] | None:
    """The first place where two values differ in type or content: path and both parts.

    `typed` is for values whose type decides what a leaf is: equal leaves are the same.
    """
    if type(before) is not type(after):
        if typed and isinstance(before, (*_LEAVES[:-1], datetime)) and before == after:
            return None
        return path, before, after
    if isinstance(before, dict):
        # Keys as a list of (type, key): True and 1 are equal keys, yet not the same.
        if [(type(k), k) for k in before] != [(type(k), k) for k in after]:
            return path, before, after
    elif isinstance(before, float):
        same = before == after or (math.isnan(before) and math.isnan(after))
        return None if same else (path, before, after)
    if isinstance(before, (set, frozenset)):
        return None if before == after else (path, before, after)
    ours, theirs = list(children(before)), list(children(after))
    if len(ours) != len(theirs):
        return path, before, after
    if not ours:
        return None if before == after else (path, before, after)
    for (piece, left), (_, right) in zip(ours, theirs, strict=True):
        found = difference(left, right, path + piece, typed=typed)
        if found is not None:
            return found
    return None


def complete(value: Any) -> None:
    """Gives dataclass instances in a value the defaults that msgspec left to their class.

    It decodes a field with a plain default that is absent by doing nothing, and encodes
    what an instance holds itself: such a field would be missing from whatever the value
    is written to next.
    """
    kind = type(value)
    if kind in _LEAVES:
        return
    if dataclasses.is_dataclass(kind):
        own = getattr(value, "__dict__", None)
        names = _field_names(kind)
        if own is not None and len(own) < len(names):
            for name in names:
                if name not in own and hasattr(kind, name):
                    own[name] = getattr(kind, name)
    for _, part in children(value):
        complete(part)


@lru_cache(maxsize=1024)
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def leaves_defaults(kind: Any) -> bool:
    """Whether decoding to a type can leave something for `complete` to do."""
    return any(
        isinstance(info, mi.DataclassType)
        and any(field.default is not msgspec.NODEFAULT for field in info.fields)
        for info in _types(mi.type_info(kind), set(), models=False)
    )


def contains(kind: Any, *wanted: type[mi.Type]) -> bool:
    """Whether a type has one of these kinds of msgspec.inspect types anywhere in it."""
    return any(isinstance(info, wanted) for info in _types(mi.type_info(kind), set(), models=True))


def undecodable(kind: Any) -> type | None:
    """A class in a type that no payload decodes to; None when there is none."""
    for info in _types(mi.type_info(kind), set(), models=False):
        if isinstance(info, mi.CustomType):
            cls: Any = info.cls
            read = is_pydantic(cls) or hasattr(cls, "FromString") or issubclass(cls, BigInt)
            if not read and not any(issubclass(plain, cls) for plain in _DECODED):
                found: type = cls
                return found
    return None


def _types(info: Any, seen: set[object], *, models: bool) -> Iterator[mi.Type]:
    """A type and all types in it; with `models` those of the fields of pydantic models."""
    pydantic = isinstance(info, mi.CustomType) and is_pydantic(info.cls)
    # A model that refers to itself has another description each time, but one class.
    identity = info.cls if pydantic else id(info)
    if identity in seen:
        return
    seen.add(identity)
    yield info
    if pydantic:
        if models:
            for field in info.cls.model_fields.values():
                yield from _types(mi.type_info(field.annotation), seen, models=models)
        return
    parts: list[Any] = []
    for name in ("item_type", "key_type", "value_type", "type"):
        parts.append(getattr(info, name, None))
    parts.extend(getattr(info, "item_types", ()))
    parts.extend(getattr(info, "types", ()))
    parts.extend(field.type for field in getattr(info, "fields", ()))
    for part in parts:
        if isinstance(part, mi.Type):
            yield from _types(part, seen, models=models)
