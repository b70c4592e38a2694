"""Which of OpenTelemetry's signals leave this process; the SDK is imported only for those.

A signal leaves where the OTEL_* variables name an exporter of it, or an endpoint. Without
either the variable that OpenTelemetry would default to "otlp" means none: nobody would
listen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from holdfast_server.core.tally import Sample
from holdfast_server.telemetry.logging import Context

if TYPE_CHECKING:
    from holdfast_server.telemetry.log_export import LogExport
    from holdfast_server.telemetry.metric_export import MetricExport

log = logging.getLogger("holdfast.telemetry")


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Whether nothing leaves, whatever else is set."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def is_asked_for(environ: Mapping[str, str], signal: str) -> bool:
    """Whether the variables ask for "traces", "metrics" or "logs"."""
    exporter = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return any(environ.get(name, "").strip() for name in endpoints)


class Signals:
    """The metrics and logs that leave one server."""

    def __init__(self, metrics: MetricExport | None, logs: LogExport | None) -> None:
        self._metrics = metrics
        self._logs = logs

    def start(self) -> None:
        """Export from now on."""
        if self._logs is not None:
            self._logs.start()
        if self._metrics is not None:
            self._metrics.start()

    async def close(self, timeout_s: float) -> None:
        """Export what is left, which takes at most `timeout_s`; the rest is lost."""
        closing = [each.close(timeout_s) for each in (self._metrics, self._logs) if each]
        if not all(await asyncio.gather(*closing)):
            log.warning("the last metrics or logs did not leave within %s s", timeout_s)


def open_signals(
    environ: Mapping[str, str], *, samples: Callable[[], list[Sample]], context: Context
) -> Signals:
    """What exports metrics and logs here; TracingError for an exporter that is not installed.

    `samples` gathers the metrics, `context` says where a line of the log comes from.
    """
    metrics: MetricExport | None = None
    logs: LogExport | None = None
    if not is_disabled(environ):
        if is_asked_for(environ, "metrics"):
            from holdfast_server.telemetry.metric_export import MetricExport

            metrics = MetricExport(environ, samples)
        if is_asked_for(environ, "logs"):
            from holdfast_server.telemetry.log_export import LogExport

            logs = LogExport(environ, context)
    return Signals(metrics, logs)
