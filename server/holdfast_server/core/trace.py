"""Trace context: who caused a turn, as the two W3C header values that say so.

It is only carried: from a call into its turn, from the turn into the calls and
sends it makes, and with a send through the store. Nothing decides by it, so
whatever is malformed is dropped, never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

# Longer ones are dropped: the context is stored with every send.
TRACESTATE_CHARS_MAX: Final = 512

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_NO_ID = frozenset("0")


class TraceContext(NamedTuple):
    """`traceparent` and `tracestate`; both empty where there is no trace."""

    parent: str = ""
    state: str = ""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return self.parent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether whoever began the trace wants to see it."""
        return bool(int(self.parent[53:55] or "0", 16) & 1)


NO_TRACE: Final = TraceContext()


class Cause(Enum):
    """How a turn comes from the one whose trace context it carries."""

    # The one waits for the other.
    CALL = "call"
    # The outbox delivers it, maybe much later.
    SEND = "send"
    # A schedule that the turn made is due, maybe much later, and maybe again and again.
    TIMER = "timer"
    # Code that outlives its turn opened a turn of its own.
    SPAWN = "spawn"


def parse(parent: str, state: str = "") -> TraceContext:
    """The context in two header values; NO_TRACE when `parent` is malformed."""
    match = _PARENT.match(parent)
    if match is None:
        return NO_TRACE
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or _NO_ID.issuperset(trace_id) or _NO_ID.issuperset(span_id):
        return NO_TRACE
    if version == "00" and rest:
        return NO_TRACE
    if version != "00":
        # Of a later version only these fields, and of its flags "sampled", are known.
        parent = f"00-{trace_id}-{span_id}-{int(flags, 16) & 1:02x}"
    return TraceContext(parent, state if len(state) <= TRACESTATE_CHARS_MAX else "")


def trace_in(headers: Iterable[tuple[str, str | bytes]]) -> TraceContext:
    """The context that a caller sent, names in lower case; as W3C has it, none if it sent
    several."""
    parent = state = ""
    for name, value in headers:
        if name == "traceparent":
            parent = "several" if parent else str(value)
        elif name == "tracestate":
            state = f"{state},{value!s}" if state else str(value)
    return parse(parent, state) if parent else NO_TRACE
