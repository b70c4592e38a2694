"""gRPC's own retries, by the service config, obey what the server says about each failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast import payload
from holdfast._service_config import service_config
from holdfast.v1 import actor_pb2, payload_pb2
from holdfast.v1 import actor_service_pb2 as pb
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.api import StoreError
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from tests.server.client_actors import Gate, gates, registry

JSON = payload.Encoding.JSON
Invoke = Callable[..., Awaitable[Any]]


class Syncs:
    """Fails the first `left` syncs of a store."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self) -> None:
        if self.left > 0:
            self.left -= 1
            raise StoreError("sync failed: injected")


@asynccontextmanager
async def plain_client(failing_syncs: int = 0, **settings: Any) -> AsyncIterator[Invoke]:
    """A server, and InvokeAction over a channel that knows nothing but the service config."""
    store = FaultyStore(MemoryStore())
    # What was not synced is lost with the reopening.
    store.unsynced_kept = 0
    store.before_sync = Syncs(failing_syncs)
    server = Server(registry, load({}, grpc="127.0.0.1:0", **settings), store)
    await server.start()
    options = [("grpc.service_config", service_config())]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
            stub: Any = ActorServiceStub(channel)

            def invoke(action: str, *args: Any, idempotency_key: str = "") -> Awaitable[Any]:
                actor = actor_pb2.ActorKey(name="witness", key=["a"])
                data = payload.encode(list(args), JSON)
                request = pb.InvokeActionRequest(
                    target=actor_pb2.ActorTarget(get_or_create=actor),
                    action=action,
                    args=payload_pb2.Payload(encoding=payload_pb2.PAYLOAD_ENCODING_JSON, data=data),
                    idempotency_key=idempotency_key,
                )
                answer: Awaitable[Any] = stub.InvokeAction(request)
                return answer

            yield invoke
    finally:
        await server.stop()


def pushback(error: grpc.aio.AioRpcError) -> str | None:
    found = {key: str(value) for key, value in error.trailing_metadata() or ()}
    return found.get("grpc-retry-pushback-ms")


def has_retry_info(error: grpc.aio.AioRpcError) -> bool:
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def test_a_keyed_call_is_retried_over_two_unknown_commits_and_runs_once() -> None:
    async with plain_client(failing_syncs=2) as invoke:
        answer = await invoke("write", "x", idempotency_key="k")

        assert payload.decode(answer.result.data, JSON) == 1
        again = await invoke("write", "x", idempotency_key="k")
        assert (again.replayed, again.result) == (True, answer.result)


async def test_a_call_without_a_key_is_not_repeated_when_its_commit_is_unknown() -> None:
    async with plain_client(failing_syncs=1) as invoke:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await invoke("write", "x")

        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "commit_unknown" in str(rpc_status.from_call(caught.value))  # type: ignore[arg-type]
        assert pushback(caught.value) == "-1"
        assert not has_retry_info(caught.value)
        # The one write was lost with its sync, and nothing has written another.
        assert payload.decode((await invoke("read")).result.data, JSON) == []


async def test_a_full_mailbox_asks_for_patience_with_or_without_a_key() -> None:
    gate = gates["a"] = Gate()
    async with plain_client() as invoke:
        running = asyncio.ensure_future(invoke("hold", "first"))
        await gate.entered.wait()
        waiting = [asyncio.ensure_future(invoke("write", str(n))) for n in range(3)]

        # One of them waits in the mailbox; the others are tried again until it has room.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(asyncio.shield(_first_failure(waiting)), 30)
        gate.open.set()
        await running

        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert pushback(caught.value) == "100"
        assert has_retry_info(caught.value)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) >= 1


async def _first_failure(calls: Sequence[asyncio.Future[Any]]) -> None:
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
    for call in done:
        call.result()


async def test_an_exhausted_limit_is_not_retried() -> None:
    async with plain_client(state_bytes_max=100) as invoke:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await invoke("write", "x" * 200, idempotency_key="k")

        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert pushback(caught.value) == "-1"


async def test_other_statuses_carry_no_pushback() -> None:
    async with plain_client() as invoke:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await invoke("absent")

        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert pushback(caught.value) is None
