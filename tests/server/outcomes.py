"""What a call came to: its refusal, as the SDK or as the bare wire tells it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast import ActorError


async def refused(call: Awaitable[object]) -> ActorError:
    """The error that `call` must end in."""
    with pytest.raises(ActorError) as caught:
        await call
    return caught.value


async def code_of(call: Awaitable[object]) -> str:
    """Group and code of the error that `call` must end in."""
    error = await refused(call)
    return f"{error.group}.{error.code}"


@dataclass(frozen=True)
class Refusal:
    """A failed RPC, unpacked."""

    status: str
    reason: str
    message: str
    metadata: dict[str, str]
    retry_after_s: float | None


async def wire_refusal(call: Awaitable[object]) -> Refusal:
    """What the RPC that `call` makes must fail with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """The parts of a failed RPC's rich status."""
    status = status_pb2.Status()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status.ParseFromString(value)
    info, retry = error_details_pb2.ErrorInfo(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
    after_s = None if retry is None else retry.retry_delay.ToNanoseconds() / 1e9
    return Refusal(
        error.code().name, info.reason, error.details() or "", dict(info.metadata), after_s
    )
