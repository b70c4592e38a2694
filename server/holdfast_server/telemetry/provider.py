"""Where spans go: the tracer provider, as the OTEL_* variables ask for it.

The OpenTelemetry SDK reads most of them by itself: endpoint, headers, timeout
and compression of the exporter, sampler, resource, limits and batching.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from holdfast_server.telemetry import names
from holdfast_server.telemetry.failure import TracingError
from holdfast_server.telemetry.otel import OtelObserver, OtelRpcObserver, SpanMaker

log = logging.getLogger("holdfast.telemetry")

_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class Tracing:
    """Observers that make spans, and the way out for these."""

    def __init__(self, provider: Any, *, own: bool, keys: bool) -> None:
        self._provider = provider
        self._own = own
        maker = SpanMaker(provider.get_tracer("holdfast"), parent_decides=_parent_decides(provider))
        self.observer = OtelObserver(maker, keys=keys)
        self.rpcs = OtelRpcObserver(maker, "grpc")
        self.connect_rpcs = OtelRpcObserver(maker, "connectrpc")

    def share(self) -> None:
        """Let the spans that code of actors makes go the same way, for as long as
        this process runs."""
        if self._own:
            trace.set_tracer_provider(self._provider)

    async def close(self, timeout_s: float) -> None:
        """Send what is left, which takes at most `timeout_s`; the rest is lost."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def flush() -> None:
            try:
                # One that the application has made goes on living.
                self._provider.shutdown() if self._own else self._provider.force_flush()
            finally:
                with contextlib.suppress(RuntimeError):
                    # The loop may be gone, where this took too long.
                    loop.call_soon_threadsafe(done.set_result, None)

        # A daemon, so that an endpoint that hangs does not keep the process alive.
        threading.Thread(target=flush, name="holdfast-spans", daemon=True).start()
        if not (await asyncio.wait([done], timeout=timeout_s))[0]:
            log.warning("the last spans did not leave within %s s and are lost", timeout_s)


def make_provider(environ: Mapping[str, str]) -> TracerProvider:
    """A provider with the exporters that the environment names."""
    resource = Resource.create()
    if str(resource.attributes.get(names.SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({names.SERVICE_NAME: "holdfast"}))
    # Closed when the server stops, and not once more when the interpreter exits.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in _exporters(environ):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporters(environ: Mapping[str, str]) -> Iterator[SpanExporter]:
    for part in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        name = part.strip().lower()
        if name == "otlp":
            name = _otlp(environ)
        found = entry_points(group="opentelemetry_traces_exporter", name=name)
        if not found:
            raise TracingError(
                f"OTEL_TRACES_EXPORTER: no exporter {name!r} is installed; "
                "otlp over http/protobuf and console are built in, none turns tracing off"
            )
        yield next(iter(found)).load()()


def _otlp(environ: Mapping[str, str]) -> str:
    protocol = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    name = _OTLP.get(protocol.strip().lower())
    if name is None:
        known = ", ".join(_OTLP)
        raise TracingError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is none of {known}")
    return name


def _parent_decides(provider: Any) -> bool:
    """Whether nothing below a parent that is not sampled ever is, by this provider."""
    sampler = getattr(provider, "sampler", None)
    description = sampler.get_description() if sampler is not None else ""
    return description.startswith("ParentBased{") and all(
        f"{parent}NotSampled:AlwaysOffSampler" in description
        for parent in ("remoteParent", "localParent")
    )
