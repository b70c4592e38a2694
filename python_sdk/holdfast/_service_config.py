"""The retry policy of Holdfast, read from the gRPC service config beside the protos.

`v1/holdfast_grpc_service_config.json` is a copy of the file that clients of other
languages use; nothing here repeats a number of it. gRPC's own limit of five attempts
does not bind this SDK, which retries until the caller's deadline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

FILE: Final = "holdfast_grpc_service_config.json"


class RetryPolicy(NamedTuple):
    """Which statuses are tried again, and how the delays grow, in seconds."""

    codes: frozenset[str]
    initial_backoff_s: float
    max_backoff_s: float
    backoff_multiplier: float


def service_config() -> str:
    """The JSON text of the service config, to be given to a gRPC channel."""
    return files("holdfast.v1").joinpath(FILE).read_text(encoding="utf-8")


def seconds(duration: str) -> float:
    """The seconds of a protobuf duration in JSON, such as "0.05s"."""
    return float(duration.removesuffix("s"))


def _method(config: Mapping[str, Any], service: str, method: str) -> Mapping[str, Any]:
    wanted = {"service": service, "method": method}
    found: Mapping[str, Any] = next(
        entry for entry in config["methodConfig"] if wanted in entry["name"]
    )
    return found


def _load() -> tuple[RetryPolicy, float]:
    entry = _method(json.loads(service_config()), "holdfast.v1.ActorService", "InvokeAction")
    policy = entry["retryPolicy"]
    return (
        RetryPolicy(
            codes=frozenset(policy["retryableStatusCodes"]),
            initial_backoff_s=seconds(policy["initialBackoff"]),
            max_backoff_s=seconds(policy["maxBackoff"]),
            backoff_multiplier=float(policy["backoffMultiplier"]),
        ),
        seconds(entry["timeout"]),
    )


RETRY, TIMEOUT_S = _load()

__all__ = ["RETRY", "TIMEOUT_S", "RetryPolicy", "seconds", "service_config"]
