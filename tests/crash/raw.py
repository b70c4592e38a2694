"""A client over the bare stubs: it keeps its requests and compares bytes.

Every request carries a key, a number or one of the caller's own, and none is
ever said to be acknowledged, so that the server must keep every answer. Some
are sent twice at once. A try whose connection broke is repeated until it has an
answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import grpc
import grpc.aio

from holdfast import ActorError, payload
from holdfast._grpc import to_actor_error
from holdfast.v1 import actor_pb2, actor_service_pb2, payload_pb2
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from tests.crash.history import Fate, History, Operation
from tests.crash.process import PATIENCE_S

Request = actor_service_pb2.InvokeActionRequest


class Answer(NamedTuple):
    """A definite answer: its bytes, and either the response or what failed."""

    data: bytes
    response: Any = None
    error: ActorError | None = None

    @property
    def value(self) -> Any:
        """The decoded result of an action."""
        result = self.response.result
        return payload.decode(result.data, result.encoding)


def open_stub(channel: grpc.aio.Channel) -> Any:
    return ActorServiceStub(channel)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel that retries nothing and comes back quickly."""
    options = [("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 500)]
    return grpc.aio.insecure_channel(address, options=options)


def key_of(ledger: str) -> actor_pb2.ActorKey:
    return actor_pb2.ActorKey(name="ledger", key=[ledger])


def invocation(ledger: str, action: str, *arguments: Any, **more: Any) -> Request:
    """A request to a ledger that is created when it is missing."""
    encoding = payload.Encoding.MSGPACK
    return Request(
        target=actor_pb2.ActorTarget(get_or_create=key_of(ledger)),
        action=action,
        args=payload_pb2.Payload(
            encoding=payload_pb2.PayloadEncoding.ValueType(int(encoding)),
            data=payload.encode([*arguments], encoding),
        ),
        **more,
    )


async def answer_to(call: Callable[..., Any], request: Any) -> Answer:
    """Try until there is an answer."""
    while True:
        try:
            response = await call(request, timeout=PATIENCE_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                return Answer(_failure_bytes(error), error=to_actor_error(error))
        else:
            return Answer(_response_bytes(response), response)


def _response_bytes(response: Any) -> bytes:
    """A response without the one field in which a replay differs."""
    copy = type(response)()
    copy.CopyFrom(response)
    if hasattr(copy, "replayed"):
        copy.replayed = False
    data: bytes = copy.SerializeToString(deterministic=True)
    return data


def _failure_bytes(error: grpc.aio.AioRpcError) -> bytes:
    """Status, message and details of a failure."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    return f"{error.code().name} {error.details()} ".encode() + details


class RawWorker:
    """One client id; see the module. `twice` is how many in 100 requests go out twice."""

    def __init__(
        self, address: str, history: History, rng: Random, ledgers: Sequence[str], *, twice: int
    ) -> None:
        self._channel = open_channel(address)
        self._stub = open_stub(self._channel)
        self._history = history
        self._rng = rng
        self._ledgers = ledgers
        self._twice = twice
        self._client_id = rng.randbytes(16)
        self._number = 0
        self._kept: list[tuple[Operation, Request]] = []

    async def step(self) -> None:
        """One request, or the same one twice at once."""
        rng = self._rng
        action = rng.choice(("add", "add", "tell", "refuse", "halves"))
        operation = self._history.begin(
            rng.choice(self._ledgers),
            action,
            parts=2 if action == "halves" else 1,
            targets=() if action == "add" else rng.choices(self._ledgers, k=2),
        )
        request = self._request(operation)
        self._kept.append((operation, request))
        tries = 2 if rng.randrange(100) < self._twice else 1
        await asyncio.gather(*(self._try(operation, request) for _ in range(tries)))

    async def again(self) -> None:
        """Send every request once more: each answer must be there and be the same."""
        for operation, request in self._kept:
            settled = operation.fate is not Fate.UNKNOWN
            answer = await self._try(operation, request)
            if settled and answer.response is not None and not answer.response.replayed:
                self._history.violate(f"{operation} ran again for a key that was answered")

    async def close(self) -> None:
        await self._channel.close()

    def _request(self, operation: Operation) -> Request:
        more = [] if operation.action == "add" else [list(operation.targets)]
        request = invocation(operation.ledger, operation.action, operation.tag, *more)
        if self._rng.random() < 0.5:
            request.idempotency_key = f"raw-{operation.tag}"
        else:
            self._number += 1
            request.client_sequence.client_id = self._client_id
            request.client_sequence.number = self._number
            request.client_sequence.acknowledged_below = 1
        return request

    async def _try(self, operation: Operation, request: Request) -> Answer:
        answer = await answer_to(self._stub.InvokeAction, request)
        stored = True
        if answer.error is None:
            self._history.acknowledge(operation, answer.value)
        else:
            stored = self._history.fail(operation, answer.error)
        if stored:
            self._history.answer(operation, answer.data)
        return answer
