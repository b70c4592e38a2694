"""The comments of protos, by the full names of what they are about.

Generated code keeps no comments, and `openapi.json` tells what a service, a method, a message or
a field is by them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

# By the kind of what holds them: the numbers of what it holds, as descriptor.proto has them.
_HELD: Final = {
    "file": {4: ("message_type", "message"), 6: ("service", "service")},
    "message": {2: ("field", "leaf"), 3: ("nested_type", "message")},
    "service": {2: ("method", "leaf")},
    "leaf": {},
}
_PARAGRAPH: Final = re.compile(r"\n\s*\n")


def comments_of(files: Sequence[FileDescriptorProto]) -> dict[str, str]:
    """The comments in files that have their source info, ordered by name."""
    found: dict[str, str] = {}
    for file in files:
        for location in file.source_code_info.location:
            name = _name(file, location.path)
            if name is not None and location.leading_comments:
                found[name] = _text(location.leading_comments)
    return dict(sorted(found.items()))


def _name(file: FileDescriptorProto, path: Sequence[int]) -> str | None:
    """The full name of what stands at a place; None where it is of no kind that is told."""
    holder: Any = file
    kind, names = "file", [file.package]
    for number, index in zip(path[::2], path[1::2], strict=False):
        if number not in _HELD[kind]:
            return None
        members, kind = _HELD[kind][number]
        holder = getattr(holder, members)[index]
        names.append(holder.name)
    return None if len(names) == 1 or len(path) % 2 else ".".join(names)


def _text(comment: str) -> str:
    """A comment without the ends of its lines, but for paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in _PARAGRAPH.split(comment.strip()))
