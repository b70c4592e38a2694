"""The server's log: lines of text for people, or of JSON for machines.

Whoever logs, a library that an actor uses too, the line says which actor, which
action and which trace it comes from: `context` tells what runs at that moment.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")

Context = Callable[[], Mapping[str, Any]]

# In this order, after what every line has.
_KNOWN: Final[tuple[str, ...]] = ("actor", "key", "actor_id", "action", "trace_id", "span_id")
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(form: str, level: str, context: Context, stream: TextIO | None = None) -> None:
    """Log what has this level or a higher one to `stream`, by default standard error.

    An application that has set logging up keeps its own way. Called again, the
    new settings hold.
    """
    root = logging.getLogger()
    for each in root.handlers:
        if not isinstance(each, ContextHandler):
            return
    handler = ServerHandler(context, stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    others = [each for each in root.handlers if not isinstance(each, ServerHandler)]
    root.handlers[:] = [handler, *others]
    root.setLevel(level.upper())


class ContextHandler(logging.Handler):
    """A handler of the server's own, which knows where a record comes from."""

    context: Context

    def add_context(self, record: logging.LogRecord) -> None:
        """Add to a record where it comes from, unless it says so itself."""
        known = vars(record)
        for name, value in self.context().items():
            known.setdefault(name, value)


class ServerHandler(logging.StreamHandler[TextIO], ContextHandler):
    """Writes lines."""

    def __init__(self, context: Context, stream: TextIO | None = None) -> None:
        super().__init__(stream or sys.stderr)
        self.context = context

    def emit(self, record: logging.LogRecord) -> None:
        self.add_context(record)
        super().emit(record)


class JsonFormatter(logging.Formatter):
    """One object a line; fields that a line was given as `extra` are fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return _json(fields)


class TextFormatter(logging.Formatter):
    """The message, and behind it whatever fields the line has."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        fields = [f"{name}={_json(value)}" for name, value in fields_of(record).items()]
        if fields:
            line += f" [{' '.join(fields)}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            line += "\n" + self.formatStack(record.stack_info)
        return line


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record has beside its message: where it comes from, and what it was given."""
    found = vars(record)
    fields = {name: found[name] for name in _KNOWN if name in found}
    fields.update((name, value) for name, value in found.items() if name not in _OWN)
    return fields
