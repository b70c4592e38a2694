"""Walking values: the parts of a container, the path of a failing part, what a type contains.

Paths look like `$.a.b[0]`; a dict key that is no identifier is written `["a b"]`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import inspect as mi

PATH_DEPTH_MAX = 100
_LEAVES = (str, bytes, bytearray, memoryview, int, float, bool, type(None))


def step(key: object) -> str:
    """The piece of a path that leads to one key of a dict."""
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
    return f"[{key!r}]"


def is_pydantic(kind: object) -> bool:
    """Whether a class is a pydantic model, without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


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


def contains(kind: Any, *wanted: type[mi.Type]) -> bool:
    """Whether a type has one of these kinds of msgspec.inspect types anywhere in it."""
    return _contains(mi.type_info(kind), wanted, set())


def _contains(info: Any, wanted: tuple[type[mi.Type], ...], seen: set[int]) -> bool:
    if isinstance(info, wanted):
        return True
    if id(info) in seen:
        return False
    seen.add(id(info))
    if isinstance(info, mi.CustomType) and is_pydantic(info.cls):
        fields: Any = info.cls.model_fields  # type: ignore[attr-defined]
        return any(_contains(mi.type_info(f.annotation), wanted, seen) for f in fields.values())
    parts: list[Any] = []
    for name in ("item_type", "key_type", "value_type", "type"):
        parts.append(getattr(info, name, None))
    parts.extend(getattr(info, "item_types", ()))
    parts.extend(getattr(info, "types", ()))
    parts.extend(field.type for field in getattr(info, "fields", ()))
    return any(_contains(part, wanted, seen) for part in parts if isinstance(part, mi.Type))
