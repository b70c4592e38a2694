"""Messages of protobuf as JSON Schema, by the canonical mapping to JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]+)?s$",
        "description": "seconds, as in 1.5s",
    },
    "google.protobuf.Struct": {"type": "object"},
}
_INT32: Final = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32: Final = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
# They are text, since JavaScript's numbers are too small for them.
_INT64: Final = {"type": "string", "pattern": r"^-?[0-9]{1,18}$"}
_UINT64: Final = {"type": "string", "pattern": r"^[0-9]{1,19}$"}
_SCALARS: Final[dict[int, dict[str, Any]]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    },
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
}


def reference(message: Any) -> dict[str, Any]:
    """The schema of a message's descriptor, where it is described once."""
    known = _WELL_KNOWN.get(message.full_name)
    return dict(known) if known else {"$ref": f"#/components/schemas/{message.full_name}"}


def schemas_of(messages: Iterable[Any], comments: Mapping[str, str]) -> dict[str, Any]:
    """The schemas of messages, and of all that they hold, by their full names; `comments` are
    those of the protos by the same names."""
    found: dict[str, Any] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name in found or message.full_name in _WELL_KNOWN:
            continue
        found[message.full_name] = _schema(message, comments)
        waiting += [each.message_type for each in message.fields if each.message_type]
    return dict(sorted(found.items()))


def _schema(message: Any, comments: Mapping[str, str]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.camelcase_name: _field(each, comments) for each in message.fields},
        "additionalProperties": False,
    }
    told = [comments.get(message.full_name, "")]
    for oneof in message.oneofs:
        names = " and ".join(each.camelcase_name for each in oneof.fields)
        told.append(f"At most one of {names}.")
    description = " ".join(filter(None, told))
    return {"description": description, **schema} if description else schema


def _field(field: Any, comments: Mapping[str, str]) -> dict[str, Any]:
    if field.message_type:
        schema = reference(field.message_type)
    elif field.enum_type:
        schema = {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    else:
        schema = dict(_SCALARS[field.type])
    if field.is_repeated:
        schema = {"type": "array", "items": schema}
    comment = comments.get(field.full_name)
    return {"description": comment, **schema} if comment else schema
