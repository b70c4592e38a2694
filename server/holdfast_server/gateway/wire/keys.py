"""Keys of actors as the one string that clients send: parts joined by slashes.

A slash or backslash inside a part has a backslash before it, an empty part is `\\0`, and no
part at all is `/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holdfast_server.gateway.wire.errors import WireError

EMPTY_KEY: Final = "/"
_EMPTY_PART: Final = "\\0"


def format_key(parts: Iterable[str]) -> str:
    """The string that stands for a key."""
    written = [
        part.replace("\\", "\\\\").replace("/", "\\/") if part else _EMPTY_PART for part in parts
    ]
    return "/".join(written) if written else EMPTY_KEY


def parse_key(text: str, field: str = "key") -> tuple[str, ...]:
    """The key behind a string; WireError for one that no key is written as."""
    if text in ("", EMPTY_KEY):
        return ()
    if "\\" not in text:
        return tuple(text.split("/"))
    parts: list[str] = []
    part: list[str] = []
    chars = iter(text)
    marked = False
    for char in chars:
        if char == "/":
            parts.append(_whole(part, marked, field))
            part, marked = [], False
        elif char != "\\":
            part.append(char)
        else:
            escaped = next(chars, None)
            if escaped == "0":
                marked = True
            elif escaped in ("/", "\\"):
                part.append(escaped)
            else:
                what = "nothing" if escaped is None else repr(escaped)
                raise WireError(f"a backslash before {what}", field=field)
    parts.append(_whole(part, marked, field))
    return tuple(parts)


def _whole(part: list[str], marked: bool, field: str) -> str:
    if part and marked:
        raise WireError(f"{_EMPTY_PART} is an empty part, and here is text beside it", field=field)
    return "".join(part)


__all__ = ["EMPTY_KEY", "format_key", "parse_key"]
