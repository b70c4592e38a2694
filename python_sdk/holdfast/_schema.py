"""JSON Schema (2020-12) of annotations, for DescribeActors.

Invariant: a schema stands alone: what it refers to is in its own `$defs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from holdfast._walk import is_pydantic
from holdfast.bigint import BigInt


def _hook(kind: type) -> dict[str, Any]:
    # References of an inner model start at the root, so they are spelled out there.
    if issubclass(kind, BigInt):
        return {"type": "integer"}
    return _model_schema(kind) if is_pydantic(kind) else {"title": kind.__name__}


def _model_schema(kind: Any) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = kind.model_json_schema()
    except Exception:
        # A model may have fields that no schema describes; it can be used all the same.
        return {"title": kind.__name__}
    return schema


def _hoist(schema: Any, definitions: dict[str, Any]) -> Any:
    """Moves `$defs` of inner schemas (pydantic's) to the root, where references point."""
    if isinstance(schema, list):
        return [_hoist(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _hoist(item, definitions) for key, item in schema.items() if key != "$defs"}
    inner = schema.get("$defs")
    if isinstance(inner, dict):
        for name, definition in inner.items():
            definitions.setdefault(name, _hoist(definition, definitions))
    return result


def _components(kinds: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    schemas, found = msgspec.json.schema_components(
        kinds, schema_hook=_hook, ref_template="#/$defs/{name}"
    )
    definitions: dict[str, Any] = {}
    for name, definition in found.items():
        definitions[name] = _hoist(definition, definitions)
    return [_hoist(schema, definitions) for schema in schemas], definitions


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of one type."""
    if is_pydantic(kind):
        return _model_schema(kind)
    (schema,), definitions = _components([kind])
    return {**schema, "$defs": definitions} if definitions else schema


def items_schema(kinds: Iterable[Any]) -> dict[str, Any]:
    """The schema of an array with one item of each type, in order."""
    listed = list(kinds)
    schemas, definitions = _components(listed)
    result: dict[str, Any] = {
        "type": "array",
        "prefixItems": schemas,
        "minItems": len(listed),
        "maxItems": len(listed),
    }
    if definitions:
        result["$defs"] = definitions
    return result


def arguments_schema(
    parameters: Iterable[tuple[str, Any, bool, Any]], extra: Any = None
) -> dict[str, Any]:
    """The schema of named arguments, from (name, type, required, default).

    `extra` is the type of other named arguments; none are taken when it is absent.
    """
    rows = list(parameters)
    kinds = [row[1] for row in rows] + ([] if extra is None else [extra])
    schemas, definitions = _components(kinds)
    properties: dict[str, Any] = {}
    for (name, _, required, default), schema in zip(rows, schemas, strict=False):
        properties[name] = schema if required else _with_default(schema, default)
    result: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [name for name, _, required, _ in rows if required],
        "additionalProperties": False if extra is None else schemas[-1],
    }
    if definitions:
        result["$defs"] = definitions
    return result


def _with_default(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    try:
        return {**schema, "default": msgspec.to_builtins(default, str_keys=True)}
    except TypeError:
        return schema
