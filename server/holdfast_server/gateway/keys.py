"""Keys as RivetKit's management calls write them: one string for a list of strings.

Parts are joined by `/`; in a part `\\` and `/` are escaped by `\\`, an empty part is `\\0`, and
the empty list is `/` alone. Every list has one string, and every string that is one gives
its list back.
"""

from __future__ import annotations

import json

from holdfast_server.core.errors import invalid


def format_key(key: tuple[str, ...]) -> str:
    """The string of a key."""
    if not key:
        return "/"
    return "/".join(part.replace("\\", "\\\\").replace("/", "\\/") or "\\0" for part in key)


def parse_key(text: str) -> tuple[str, ...]:
    """The key of a string; REQUEST_INVALID when it is none.

    Some clients write the list as JSON, which is read too.
    """
    if text in ("", "/"):
        return ()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list) and all(isinstance(part, str) for part in listed):
            return tuple(listed)
    parts, part, index = [], "", 0
    while index < len(text):
        char = text[index]
        if char == "/":
            parts.append(part)
            part = ""
        elif char != "\\":
            part += char
        else:
            index += 1
            escaped = text[index : index + 1]
            if escaped in ("\\", "/") and escaped:
                part += escaped
            elif escaped != "0":
                raise invalid("key", "ends in the middle, or escapes what needs no escape")
        index += 1
    return (*parts, part)
