"""Stored rows as the records they are, and what is said of one that is none."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from holdfast_server.store.api import CorruptRecordError

R = TypeVar("R", bound=Message)


def decode(kind: type[R], key: bytes, row: bytes) -> R:
    """The record of kind `kind` in `row`; CorruptRecordError names the key."""
    try:
        return kind.FromString(row)
    except DecodeError as error:
        raise CorruptRecordError(key, f"not a {kind.__name__}: {error}") from error
