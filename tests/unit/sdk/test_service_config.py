"""The gRPC service config beside the protos, and the SDK that takes its numbers from it."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client, blocking, v1
from holdfast._retry import Backoff
from holdfast._service_config import FILE, RETRY, TIMEOUT_S, service_config

SOURCE = Path(__file__).resolve().parents[3] / "proto/holdfast/v1" / FILE
CONFIG: dict[str, Any] = json.loads(SOURCE.read_text(encoding="utf-8"))


def methods() -> list[tuple[str, Any]]:
    """Every method of the public services: its name in the config, and its descriptor."""
    modules = [
        importlib.import_module(f"holdfast.v1.{found.name}")
        for found in pkgutil.iter_modules(v1.__path__)
        if found.name.endswith("_service_pb2")
    ]
    services = [s for m in modules for s in m.DESCRIPTOR.services_by_name.values()]
    return [(f"{s.full_name}/{m.name}", m) for s in services for m in s.methods]


def entries() -> dict[str, Any]:
    return {
        f"{name['service']}/{name['method']}": entry
        for entry in CONFIG["methodConfig"]
        for name in entry["name"]
    }


def test_the_sdk_ships_the_same_file() -> None:
    assert service_config() == SOURCE.read_text(encoding="utf-8")


def test_every_method_is_named_once() -> None:
    named = [n for entry in CONFIG["methodConfig"] for n in entry["name"]]
    assert len(named) == len(entries())
    assert set(entries()) == {name for name, _ in methods()}


@pytest.mark.parametrize(("name", "method"), methods())
def test_every_method_is_retried_alike_and_only_streams_have_no_timeout(
    name: str, method: Any
) -> None:
    entry = entries()[name]
    if method.client_streaming:
        # A session is resumed, which gRPC cannot do.
        assert set(entry) == {"name"}
        return
    assert entry["retryPolicy"] == {
        "maxAttempts": 5,
        "initialBackoff": "0.05s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    assert ("timeout" in entry) == (not method.server_streaming)


def test_the_file_says_which_methods_need_a_key() -> None:
    mutating = [m.name for _, m in methods() if "idempotency_key" in m.input_type.fields_by_name]
    text = " ".join(CONFIG["_comment"])
    assert [name for name in mutating if name not in text] == []


def test_the_sdk_takes_its_numbers_from_the_file() -> None:
    assert RETRY.codes == {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    full = Backoff(lambda: 1.0)
    delays = [full.next() for _ in range(9)]
    assert delays[:3] == [RETRY.initial_backoff_s * RETRY.backoff_multiplier**n for n in range(3)]
    assert delays[-1] == RETRY.max_backoff_s


@pytest.mark.parametrize("kind", [Client, blocking.Client])
def test_the_default_deadline_is_that_of_the_file(kind: Any) -> None:
    assert inspect.signature(kind).parameters["timeout"].default == TIMEOUT_S
