"""The samples of a scrape as metrics of OpenTelemetry, exported every now and then.

They are counted already, so that there is no meter and no instrument: each export gathers
the samples on the loop and gives them to the exporters, on a thread, as what a meter
would have collected. Sums and histograms are cumulative since the start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as OtelHistogram
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from holdfast_server.core.tally import Histogram, Sample, Summary
from holdfast_server.telemetry.exporters import exporters_of, make_resource, on_thread
from holdfast_server.telemetry.failure import TracingError
from holdfast_server.telemetry.metrics import METRICS, Kind, cumulated

_INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
_INTERVAL_MS: Final = 60_000.0
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_THREAD: Final = "holdfast-metrics"


class MetricExport:
    """Exports from `start` to `close`, and once more then."""

    def __init__(self, environ: Mapping[str, str], samples: Callable[[], list[Sample]]) -> None:
        self._samples = samples
        self._exporters = list(exporters_of(environ, "metrics"))
        self._interval_s = _interval_s(environ)
        self._resource = make_resource()
        self._started_ns = time.time_ns()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self, timeout_s: float) -> bool:
        """Export for the last time; whether that ended in time."""
        task, self._task = self._task, None
        if task is None:
            return True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        data = self._gather()

        def finish() -> None:
            self._export(data)
            for exporter in self._exporters:
                exporter.shutdown()

        return await on_thread(finish, _THREAD, timeout_s)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            data = self._gather()
            await on_thread(lambda data=data: self._export(data), _THREAD)  # type: ignore[misc]

    def _export(self, data: MetricsData) -> None:
        for exporter in self._exporters:
            exporter.export(data)

    def _gather(self) -> MetricsData:
        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples():
            by_name.setdefault(sample.name, []).append(sample)
        now_ns = time.time_ns()
        metrics = [
            metric
            for name, samples in by_name.items()
            for metric in _metrics(name, samples, self._started_ns, now_ns)
        ]
        scope = ScopeMetrics(InstrumentationScope("holdfast"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _metrics(name: str, samples: Sequence[Sample], start_ns: int, now_ns: int) -> list[Metric]:
    """The metrics of a name: one, or count and sum where that is all that is known."""
    metric = METRICS[name]
    if metric.kind is Kind.SUMMARY:
        counts, sums = [], []
        for sample in samples:
            assert isinstance(sample.value, Summary)
            counts.append(sample._replace(value=sample.value.values))
            sums.append(sample._replace(value=sample.value.total))
        return [
            Metric(f"{name}{suffix}", metric.help, "", _sum(name, each, start_ns, now_ns))
            for suffix, each in (("_count", counts), ("_sum", sums))
        ]
    unit = "s" if name.endswith("_seconds") else "By" if name.endswith("_bytes") else ""
    data: Any
    if metric.kind in (Kind.SECONDS, Kind.SIZES):
        points = [_histogram(sample, metric.kind, start_ns, now_ns) for sample in samples]
        data = OtelHistogram(points, _CUMULATIVE)
    elif metric.kind is Kind.COUNTER:
        data = _sum(name, samples, start_ns, now_ns)
    else:
        data = Gauge(_points(name, samples, 0, now_ns))
    return [Metric(name, metric.help, unit, data)]


def _sum(name: str, samples: Sequence[Sample], start_ns: int, now_ns: int) -> Sum:
    return Sum(_points(name, samples, start_ns, now_ns), _CUMULATIVE, True)


def _points(
    name: str, samples: Sequence[Sample], start_ns: int, now_ns: int
) -> list[NumberDataPoint]:
    points = []
    for sample in samples:
        assert isinstance(sample.value, int | float)
        points.append(NumberDataPoint(_attributes(sample), start_ns, now_ns, sample.value))
    return points


def _histogram(sample: Sample, kind: Kind, start_ns: int, now_ns: int) -> HistogramDataPoint:
    value = sample.value
    assert isinstance(value, Histogram)
    buckets = cumulated(value.counts, kind)
    counts, before = [], 0
    for _, below in buckets:
        counts.append(below - before)
        before = below
    return HistogramDataPoint(
        attributes=_attributes(sample),
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        count=before,
        sum=value.total,
        bucket_counts=counts,
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # Unknown, which the format says by these.
        min=float("inf"),
        max=float("-inf"),
    )


def _attributes(sample: Sample) -> dict[str, str]:
    return dict(zip(METRICS[sample.name].labels, sample.labels, strict=True))


def _interval_s(environ: Mapping[str, str]) -> float:
    text = environ.get(_INTERVAL, "").strip()
    try:
        milliseconds = float(text) if text else _INTERVAL_MS
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise TracingError(f"{_INTERVAL}: {text!r} is no number of milliseconds")
    return milliseconds / 1000
