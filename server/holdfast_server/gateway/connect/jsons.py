"""Messages as JSON, by protobuf's canonical mapping.

The library reads some of what is no JSON of a message: a list where an object belongs, bytes
that are no base64, of which it skips what it does not know. Whoever forgets to encode a payload
would have another one run. So the shape is checked first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from holdfast_server.core.errors import invalid
from holdfast_server.gateway.transport import to_json

M = TypeVar("M", bound=Message)

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}\Z", re.ASCII)
# Their JSON is their own, and the library is strict about it.
_WELL_KNOWN: Final = "google.protobuf."


def parse(data: bytes, kind: type[M]) -> M:
    """The message in a JSON text; REQUEST_INVALID names the field that is wrong."""
    name = kind.DESCRIPTOR.name
    message = kind()
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
        _check(value, kind.DESCRIPTOR, "")
        json_format.ParseDict(value, message)
    except RecursionError:
        raise invalid("body", "is nested too deeply") from None
    except (json_format.Error, ValueError) as error:
        raise invalid("body", f"is no {name} in JSON: {str(error)[:200]}") from None
    return message


def text(message: Message) -> bytes:
    """A message as compact JSON, without fields that have their default."""
    return to_json(json_format.MessageToDict(message))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a member twice")
    return found


def _check(value: Any, kind: Any, path: str) -> None:
    """ValueError for what is not shaped like a message of the descriptor `kind`."""
    if kind.full_name.startswith(_WELL_KNOWN):
        return
    if not isinstance(value, Mapping):
        raise ValueError(f"{path or 'it'} is not an object")
    for name, inner in value.items():
        field = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)
        # One that is unknown is for the library to refuse, and null is no field.
        if field is None or inner is None:
            continue
        where = f"{path}.{name}" if path else name
        if not field.is_repeated:
            _check_field(inner, field, where)
        elif isinstance(inner, list):
            for each in inner:
                _check_field(each, field, where)


def _check_field(value: Any, field: FieldDescriptor, path: str) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        _check(value, field.message_type, path)
    elif field.type == FieldDescriptor.TYPE_BYTES and not (
        isinstance(value, str) and _BASE64.match(value) and len(value.rstrip("=")) % 4 != 1
    ):
        raise ValueError(f"{path} is not base64")
