"""The exporters that the OTEL_* variables name, for each of the three signals.

The OpenTelemetry SDK reads most of the variables by itself: endpoint, headers, timeout and
compression, the resource, limits and batching.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

from holdfast_server.telemetry import names
from holdfast_server.telemetry.failure import TracingError

log = logging.getLogger("holdfast.telemetry")

_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def make_resource() -> Resource:
    """Who says it: this service, or what the variables call it."""
    resource = Resource.create()
    if str(resource.attributes.get(names.SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({names.SERVICE_NAME: "holdfast"}))
    return resource


def exporters_of(environ: Mapping[str, str], signal: str) -> Iterator[Any]:
    """New exporters of a signal, "traces", "metrics" or "logs"; TracingError for one that is
    not installed."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    for part in (environ.get(variable) or "otlp").split(","):
        name = part.strip().lower()
        if name == "otlp":
            name = _otlp(environ, signal)
        found = entry_points(group=f"opentelemetry_{signal}_exporter", name=name)
        if not found:
            raise TracingError(
                f"{variable}: no exporter {name!r} is installed; otlp over http/protobuf and "
                f"console are built in, none turns {signal} off"
            )
        yield next(iter(found)).load()()


def _otlp(environ: Mapping[str, str], signal: str) -> str:
    protocol = (
        environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    name = _OTLP.get(protocol.strip().lower())
    if name is None:
        known = ", ".join(_OTLP)
        raise TracingError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is none of {known}")
    return name


async def on_thread(work: Callable[[], object], name: str, timeout_s: float | None = None) -> bool:
    """Run `work` on a thread of its own; whether it ended in time. What it raises is logged."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def run() -> None:
        try:
            work()
        except Exception:
            log.exception("%s failed", name)
        finally:
            with contextlib.suppress(RuntimeError):
                # The loop may be gone, where this took too long.
                loop.call_soon_threadsafe(done.set_result, None)

    # A daemon, so that an endpoint that hangs does not keep the process alive.
    threading.Thread(target=run, name=name, daemon=True).start()
    return bool((await asyncio.wait([done], timeout=timeout_s))[0])
