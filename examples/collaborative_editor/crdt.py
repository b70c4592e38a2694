"""A Yjs document in Python, where bytes come from anybody: whatever is wrong with them is a
ValueError. After one of `apply` the document may be half changed: drop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pycrdt import Doc, Text, merge_updates

R = TypeVar("R")

TEXT = "text"
# The update in which nothing is.
EMPTY = b"\x00\x00"


def apply(document: Doc[Any], update: bytes) -> bytes:
    """Apply an update; the update as this library writes it, without what else was in the bytes.

    What cannot be written again is no update either: with it in the document nobody could be
    sent anything.
    """
    before = document.get_state()
    clean = _guarded(merge_updates, update)
    _guarded(document.apply_update, clean)
    _guarded(document.get_update, before)
    return clean


def missing(document: Doc[Any], state_vector: bytes) -> bytes:
    """What somebody lacks who has this much."""
    return _guarded(document.get_update, state_vector)


def text_of(document: Doc[Any]) -> str:
    """What is written in a document."""
    return str(document.get(TEXT, type=Text))


def _guarded(function: Callable[[bytes], R], argument: bytes) -> R:
    """Call the library; it has several exceptions, and panics, which are no Exception."""
    try:
        return function(argument)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(str(error)) from None
        raise
