"""Samples as text for Prometheus, in its own format or in OpenMetrics, as the reader asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isinf
from typing import Any, cast

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from holdfast_server.core.tally import Histogram, Sample, Summary
from holdfast_server.telemetry.metrics import METRICS, Kind, cumulated

_process = ProcessCollector(registry=CollectorRegistry())


class _Scrape(Collector):
    """One scrape, as the client library wants it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples:
            by_name.setdefault(sample.name, []).append(sample)
        for name in METRICS:
            if name in by_name:
                yield _family(name, by_name[name])
        yield from _process.collect()


def render(samples: Sequence[Sample], accept: str) -> tuple[bytes, str]:
    """The text of a scrape and its content type, for what a reader says that it accepts.

    Takes milliseconds for many actions, so not on the loop."""
    encode, content_type = choose_encoder(accept)
    return encode(_Scrape(samples)), content_type


def _family(name: str, samples: Iterable[Sample]) -> Metric:
    metric = METRICS[name]
    make: Any = {
        Kind.COUNTER: CounterMetricFamily,
        Kind.GAUGE: GaugeMetricFamily,
        Kind.SUMMARY: SummaryMetricFamily,
        Kind.SECONDS: HistogramMetricFamily,
        Kind.SIZES: HistogramMetricFamily,
    }[metric.kind]
    family = make(name.removesuffix("_total"), metric.help, labels=metric.labels)
    for sample in samples:
        value = sample.value
        if isinstance(value, Histogram):
            buckets = [
                (_bound(bound), count) for bound, count in cumulated(value.counts, metric.kind)
            ]
            family.add_metric(sample.labels, buckets, value.total)
        elif isinstance(value, Summary):
            family.add_metric(sample.labels, value.values, value.total)
        else:
            family.add_metric(sample.labels, value)
    return cast(Metric, family)


def _bound(bound: float) -> str:
    return "+Inf" if isinf(bound) else repr(bound)
