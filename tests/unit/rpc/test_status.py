"""Errors as gRPC trailers: whole where they fit, cut where a client would refuse them."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.convert import status_of


def read(details: bytes) -> tuple[str, error_details_pb2.ErrorInfo]:
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return status.message, info


def user_error(message: str, metadata: object, code: str = "c") -> HoldfastError:
    encoded = json.dumps(metadata).encode()
    return HoldfastError(errors.USER_ERROR, message, code=code, user_metadata_json=encoded)


def test_an_error_that_fits_is_whole() -> None:
    code, message, details = status_of(user_error("m" * 2000, {"a": "x" * 1000}))

    assert (code, message) == (grpc.StatusCode.UNKNOWN, "m" * 2000)
    inner, info = read(details)
    assert inner == message
    assert info.metadata["metadata_json"] == json.dumps({"a": "x" * 1000})
    assert "truncated" not in info.metadata


def test_the_bytes_of_an_error_are_the_same_in_every_process() -> None:
    names = [f"name{number:02}" for number in range(20)]
    error = HoldfastError(errors.REQUEST_INVALID, metadata=dict.fromkeys(reversed(names), "x"))

    _, _, details = status_of(error)

    places = [details.index(name.encode()) for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "error",
    [
        user_error("m" * 20_000, None),
        user_error("ж" * 20_000, None),
        user_error("short", "x" * 20_000),
        user_error("ж" * 20_000, "ж" * 20_000, code="c" * 20_000),
        HoldfastError(errors.CALL_CYCLE, metadata={"chain": "a -> " * 5000}),
        errors.invalid("f" * 20_000, "m" * 20_000),
    ],
)
def test_a_long_error_is_cut_to_what_clients_accept(error: HoldfastError) -> None:
    code, message, details = status_of(error)

    trailers = quote(message, safe="") + base64.b64encode(details).decode()
    assert len(trailers) < 7 << 10
    inner, info = read(details)
    assert inner == message
    assert (code.name, info.reason) == (error.reason.status, error.reason.reason)
    assert info.metadata["group"] == error.group
    assert info.metadata["truncated"] == "true"
    assert "metadata_json" not in info.metadata
    assert "�" not in message
