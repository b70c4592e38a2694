"""An OTLP/HTTP collector in this process: keeps what is posted to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_KINDS = {number: name.removeprefix("SPAN_KIND_") for name, number in Span.SpanKind.items()}


def _value(value: AnyValue) -> Any:
    if value.WhichOneof("value") == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, value.WhichOneof("value") or "string_value")


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


@dataclass(frozen=True)
class Seen:
    """A span as the collector got it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    # What the status says where it is an error, None where it is not.
    error: str | None
    attributes: dict[str, Any]
    events: dict[str, dict[str, Any]]
    links: list[tuple[str, str, dict[str, Any]]]
    resource: dict[str, Any]

    @classmethod
    def of(cls, span: Span, resource: dict[str, Any]) -> Seen:
        failed = span.status.code == Status.STATUS_CODE_ERROR
        return cls(
            name=span.name,
            kind=_KINDS[span.kind],
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            error=span.status.message if failed else None,
            attributes=_attributes(span.attributes),
            events={event.name: _attributes(event.attributes) for event in span.events},
            links=[
                (link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))
                for link in span.links
            ],
            resource=resource,
        )


@dataclass(frozen=True)
class Point:
    """A data point of a metric as the collector got it."""

    kind: str
    unit: str
    attributes: dict[str, Any]
    # Of a histogram the number of its values.
    value: float
    buckets: list[int]
    bounds: list[float]
    started: int

    @classmethod
    def all_of(cls, metric: Metric) -> list[Point]:
        kind = metric.WhichOneof("data") or ""
        return [
            cls(
                kind=kind,
                unit=metric.unit,
                attributes=_attributes(point.attributes),
                value=point.count if kind == "histogram" else point.as_double or point.as_int,
                buckets=list(point.bucket_counts) if kind == "histogram" else [],
                bounds=list(point.explicit_bounds) if kind == "histogram" else [],
                started=point.start_time_unix_nano,
            )
            for point in getattr(metric, kind).data_points
        ]


@dataclass(frozen=True)
class Line:
    """A line of the log as the collector got it."""

    logger: str
    text: str
    severity: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]

    @classmethod
    def of(cls, logger: str, record: LogRecord) -> Line:
        return cls(
            logger=logger,
            text=record.body.string_value,
            severity=record.severity_text,
            trace_id=record.trace_id.hex(),
            span_id=record.span_id.hex(),
            attributes=_attributes(record.attributes),
        )


class Collector:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.posted: list[bytes] = []
        self.metrics: dict[str, list[Point]] = {}
        self.lines: list[Line] = []
        self._arrived = threading.Condition()
        self.url = ""

    def take(self, path: str, body: bytes) -> None:
        """What was posted, by the path that exporters of a signal have."""
        take = {
            "/v1/traces": self._take_spans,
            "/v1/metrics": self._take_metrics,
            "/v1/logs": self._take_logs,
        }[path]
        with self._arrived:
            take(body)
            self._arrived.notify_all()

    def _take_metrics(self, body: bytes) -> None:
        """The last value of each metric counts."""
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in group.scope_metrics:
                self.metrics.update((each.name, Point.all_of(each)) for each in scope.metrics)

    def _take_logs(self, body: bytes) -> None:
        for group in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in group.scope_logs:
                self.lines += [Line.of(scope.scope.name, each) for each in scope.log_records]

    def _take_spans(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.posted.append(body)
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [Seen.of(span, resource) for span in scope.spans]

    def wait_for(self, name: str, count: int = 1) -> list[Seen]:
        """The spans of this name, once there are as many; blocks."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.named(name)) >= count, 20), self.tree()
            return self.named(name)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Until what has arrived is enough; blocks."""
        with self._arrived:
            assert self._arrived.wait_for(condition, 20)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> Seen:
        """The one span of this name."""
        (span,) = self.named(name)
        return span

    def below(self, parent: Seen, name: str) -> Seen:
        """The one child of this name; it is in the same trace."""
        (span,) = (each for each in self.named(name) if each.parent_id == parent.span_id)
        assert span.trace_id == parent.trace_id
        return span

    def tree(self) -> list[Any]:
        """Names, nested, in the order in which the spans began."""
        ids = {span.span_id for span in self.spans}
        roots = [span for span in self.spans if span.parent_id not in ids]
        return [self._branch(span) for span in sorted(roots, key=lambda span: span.start)]

    def _branch(self, span: Seen) -> Any:
        children = [each for each in self.spans if each.parent_id == span.span_id]
        if not children:
            return span.name
        children.sort(key=lambda each: each.start)
        return {span.name: [self._branch(each) for each in children]}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *args: Any) -> None:
            """The test's output is not for requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
