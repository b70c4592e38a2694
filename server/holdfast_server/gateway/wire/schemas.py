"""The client protocol in BARE, version by version.

Clients write the version that they were made with: 2.0 writes 2, 2.1 and 2.2 write 3, 2.3
writes 4, and each reads any version up to its own. So the server reads all and writes
WRITTEN_VERSION to everybody: its first frame leaves before a client has said anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast_server.gateway.wire.bare import (
    BOOL,
    DATA,
    STR,
    U64,
    UINT,
    Optional,
    Reader,
    Struct,
    Type,
    Union,
)
from holdfast_server.gateway.wire.errors import WireError

WRITTEN_VERSION: Final = 2
"""What the server writes, but for what came later."""
QUEUE_VERSION: Final = 3
"""The first version with queues."""

Versions = Mapping[int, Type]

_INIT_1 = Struct(actorId=STR, connectionId=STR, connectionToken=STR)
_INIT = Struct(actorId=STR, connectionId=STR)
_ACTOR = Struct(actorId=STR, generation=UINT, key=Optional(STR))
_ERROR_FIELDS: Final[Mapping[str, Type]] = {
    "group": STR,
    "code": STR,
    "message": STR,
    "metadata": Optional(DATA),
}
_ERROR = Struct(**_ERROR_FIELDS, actionId=Optional(UINT))
_ERROR_4 = Struct(**_ERROR_FIELDS, actionId=Optional(UINT), actor=Optional(_ACTOR))
_ACTION_RESPONSE = Struct(id=UINT, output=DATA)
_EVENT = Struct(name=STR, args=DATA)
_ACTION_REQUEST = Struct(id=UINT, name=STR, args=DATA)
_SUBSCRIPTION_REQUEST = Struct(eventName=STR, subscribe=BOOL)


def _to_client(init: Type, error: Type) -> Type:
    return Struct(
        body=Union(
            ("Init", init),
            ("Error", error),
            ("ActionResponse", _ACTION_RESPONSE),
            ("Event", _EVENT),
        )
    )


_TO_SERVER = Struct(
    body=Union(
        ("ActionRequest", _ACTION_REQUEST),
        ("SubscriptionRequest", _SUBSCRIPTION_REQUEST),
    )
)
_HTTP_ACTION_REQUEST = Struct(args=DATA)
_HTTP_ACTION_RESPONSE = Struct(output=DATA)
_HTTP_ERROR = Struct(**_ERROR_FIELDS)
_HTTP_ERROR_4 = Struct(**_ERROR_FIELDS, actor=Optional(_ACTOR))
_HTTP_RESOLVE = Struct(actorId=STR)
_QUEUE_REQUEST = Struct(body=DATA, name=Optional(STR), wait=Optional(BOOL), timeout=Optional(U64))
_QUEUE_RESPONSE = Struct(status=STR, response=Optional(DATA))

TO_SERVER: Final[Versions] = dict.fromkeys((1, 2, 3, 4), _TO_SERVER)
TO_CLIENT: Final[Versions] = {
    1: _to_client(_INIT_1, _ERROR),
    2: _to_client(_INIT, _ERROR),
    3: _to_client(_INIT, _ERROR),
    4: _to_client(_INIT, _ERROR_4),
}
HTTP_ACTION_REQUEST: Final[Versions] = dict.fromkeys((1, 2, 3, 4), _HTTP_ACTION_REQUEST)
HTTP_ACTION_RESPONSE: Final[Versions] = dict.fromkeys((1, 2, 3, 4), _HTTP_ACTION_RESPONSE)
HTTP_RESPONSE_ERROR: Final[Versions] = {
    **dict.fromkeys((1, 2, 3), _HTTP_ERROR),
    4: _HTTP_ERROR_4,
}
HTTP_RESOLVE_RESPONSE: Final[Versions] = dict.fromkeys((1, 2, 3, 4), _HTTP_RESOLVE)
HTTP_QUEUE_SEND_REQUEST: Final[Versions] = dict.fromkeys((3, 4), _QUEUE_REQUEST)
HTTP_QUEUE_SEND_RESPONSE: Final[Versions] = dict.fromkeys((3, 4), _QUEUE_RESPONSE)


def read(versions: Versions, data: bytes) -> tuple[int, Any]:
    """The version and the content of a message, which begins with its version."""
    reader = Reader(data)
    version = int.from_bytes(reader.take(2, "version"), "little")
    kind = versions.get(version)
    if kind is None:
        known = f"{min(versions)} to {max(versions)}"
        raise WireError(
            f"unknown version {version}, not one of {known}",
            field="version",
            offset=0,
            limit=max(versions),
        )
    value = kind.read(reader, "")
    reader.finish()
    return version, value


def write(versions: Versions, version: int, value: Any) -> bytes:
    """A message in one version, which it begins with."""
    out = bytearray(version.to_bytes(2, "little"))
    versions[version].write(out, value, "")
    return bytes(out)


__all__ = [
    "HTTP_ACTION_REQUEST",
    "HTTP_ACTION_RESPONSE",
    "HTTP_QUEUE_SEND_REQUEST",
    "HTTP_QUEUE_SEND_RESPONSE",
    "HTTP_RESOLVE_RESPONSE",
    "HTTP_RESPONSE_ERROR",
    "QUEUE_VERSION",
    "TO_CLIENT",
    "TO_SERVER",
    "WRITTEN_VERSION",
    "Versions",
    "read",
    "write",
]
