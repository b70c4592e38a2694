"""Lines of the log as log records of OpenTelemetry, with the actor and trace they come from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from holdfast_server.telemetry import names
from holdfast_server.telemetry.exporters import exporters_of, make_resource, on_thread
from holdfast_server.telemetry.logging import Context, ContextHandler, fields_of

# What they log of an export would be exported again.
_NOT_EXPORTED: Final = ("opentelemetry", "urllib3", "requests", "holdfast.telemetry")
_SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
    (logging.NOTSET, SeverityNumber.DEBUG),
)
_EMPTY: Final = OtelContext()


class LogExport:
    """Exports what is logged from `start` to `close`."""

    def __init__(self, environ: Mapping[str, str], context: Context) -> None:
        self._provider = LoggerProvider(resource=make_resource(), shutdown_on_exit=False)
        for exporter in exporters_of(environ, "logs"):
            self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._handler = _Handler(self._provider, context)

    def start(self) -> None:
        logging.getLogger().addHandler(self._handler)

    async def close(self, timeout_s: float) -> bool:
        """Export what is left; whether that ended in time."""
        logging.getLogger().removeHandler(self._handler)
        return await on_thread(self._provider.shutdown, "holdfast-logs", timeout_s)


class _Handler(ContextHandler):
    def __init__(self, provider: LoggerProvider, context: Context) -> None:
        super().__init__()
        self.context = context
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_NOT_EXPORTED):
            return
        try:
            self.add_context(record)
            self._provider.get_logger(record.name).emit(_record(record))
        except Exception:
            self.handleError(record)


def _record(record: logging.LogRecord) -> LogRecord:
    fields = fields_of(record)
    trace_id, span_id = str(fields.pop("trace_id", "")), str(fields.pop("span_id", ""))
    attributes = {name: _value(value) for name, value in fields.items()}
    if record.exc_info and record.exc_info[0] is not None:
        attributes[names.EXCEPTION_TYPE] = record.exc_info[0].__name__
        attributes[names.EXCEPTION_STACKTRACE] = logging.Formatter().formatException(
            record.exc_info
        )
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=_context(trace_id, span_id),
        severity_text=record.levelname,
        severity_number=next(s for level, s in _SEVERITIES if record.levelno >= level),
        body=record.getMessage(),
        attributes=attributes,
    )


def _context(trace_id: str, span_id: str) -> OtelContext:
    if not trace_id:
        return _EMPTY
    span = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1)
    )
    return set_span_in_context(NonRecordingSpan(span), _EMPTY)


def _value(value: object) -> Any:
    """A field as an attribute may have it; text for what it may not."""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return list(value)
    return str(value)
