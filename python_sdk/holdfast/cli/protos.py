"""Protos as the command line prints them: JSON, with payloads and times in plain form."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast import payload
from holdfast.errors import DecodeError
from holdfast.v1.payload_pb2 import Payload


def plain(value: Payload) -> Any:
    """What a payload holds, as JSON; what is not shown so is told by its size."""
    try:
        encoding = payload.Encoding(value.encoding)
        decoded = payload.decode(value.data, encoding)
        return payload.decode(payload.encode(decoded, payload.Encoding.JSON), payload.Encoding.JSON)
    except (DecodeError, ValueError):
        return f"<{len(value.data)} bytes>"


def when(at: Timestamp) -> str:
    """A time in RFC 3339."""
    return at.ToJsonString()


def seconds(span: Duration) -> float:
    """A length of time in seconds."""
    return span.ToMilliseconds() / 1000


def word(enum: Any, value: int) -> str:
    """The name of an enum's value without its prefix: `run_once`."""
    prefix = enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name: str = enum.Name(value)
    return name.removeprefix(prefix).lower()


__all__ = ["plain", "seconds", "when", "word"]
