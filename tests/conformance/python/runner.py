"""Runs the conformance cases with the generated stubs: `runner ADDRESS ADMIN_ADDRESS CASES`.

One line per case: `ok NAME` or `failed NAME: reason`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from holdfast.v1 import (
    actor_service_pb2_grpc,
    admin_service_pb2_grpc,
    dead_letter_service_pb2_grpc,
    event_service_pb2_grpc,
    kv_service_pb2_grpc,
    schedule_service_pb2_grpc,
)
from tests.conformance.python.patterns import Mismatch, expand, match

DOMAIN = "holdfast.dev"
ADMIN = "holdfast.v1.AdminService"
TIMEOUT_S = 20.0
STUBS: dict[str, Callable[[grpc.aio.Channel], Any]] = {
    "holdfast.v1.ActorService": actor_service_pb2_grpc.ActorServiceStub,
    ADMIN: admin_service_pb2_grpc.AdminServiceStub,
    "holdfast.v1.DeadLetterService": dead_letter_service_pb2_grpc.DeadLetterServiceStub,
    "holdfast.v1.EventService": event_service_pb2_grpc.EventServiceStub,
    "holdfast.v1.KvService": kv_service_pb2_grpc.KvServiceStub,
    "holdfast.v1.ScheduleService": schedule_service_pb2_grpc.ScheduleServiceStub,
    "grpc.health.v1.Health": health_pb2_grpc.HealthStub,
}


class Answers(Protocol):
    """What a call answers: read on until it is enough, or over."""

    async def read(self, enough: Callable[[Any], bool]) -> tuple[Any, dict[str, Any] | None]:
        """The messages that come, merged into one, and how the call failed."""
        ...

    async def cancel(self) -> None:
        """The caller has read enough."""
        ...


class Client(Protocol):
    """Whoever calls the server."""

    def begin(
        self, method: MethodDescriptor, request: Any, timeout_s: float, metadata: dict[str, str]
    ) -> Answers:
        """Send a request."""
        ...


class GrpcClient:
    """The generated stubs over a channel to each port."""

    def __init__(self, channel: grpc.aio.Channel, admin: grpc.aio.Channel) -> None:
        self._stubs = {
            name: make(admin if name == ADMIN else channel) for name, make in STUBS.items()
        }

    def begin(
        self, method: MethodDescriptor, request: Any, timeout_s: float, metadata: dict[str, str]
    ) -> Answers:
        stub = self._stubs[method.containing_service.full_name]
        call = getattr(stub, method.name)(
            request, timeout=timeout_s, metadata=tuple(metadata.items())
        )
        return GrpcAnswers(call, method)


class GrpcAnswers:
    """A call of a stub."""

    def __init__(self, call: Any, method: MethodDescriptor) -> None:
        self._call = call
        self._method = method

    async def read(self, enough: Callable[[Any], bool]) -> tuple[Any, dict[str, Any] | None]:
        merged = message_factory.GetMessageClass(self._method.output_type)()
        try:
            if not self._method.server_streaming:
                merged.MergeFrom(await self._call)
                return merged, None
            while (reply := await self._call.read()) is not grpc.aio.EOF:
                merged.MergeFrom(reply)
                if enough(merged):
                    return merged, None
        except grpc.aio.AioRpcError as failure:
            return merged, of_grpc(failure)
        return merged, None

    async def cancel(self) -> None:
        self._call.cancel()


class Runner:
    """Runs cases by one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run_case(self, steps: list[dict[str, Any]]) -> None:
        """Raise Mismatch at the first step that goes other than it says."""
        variables: dict[str, Any] = {"unique": secrets.token_hex(8)}
        streams: dict[str, Answers] = {}
        try:
            for number, step in enumerate(steps, 1):
                try:
                    await self._run_step(step, variables, streams)
                except Mismatch as mismatch:
                    what = step.get("call") or step["read"]
                    raise Mismatch(f"step {number} ({what}): {mismatch}") from None
        finally:
            for answers in streams.values():
                await answers.cancel()

    async def _run_step(
        self, step: dict[str, Any], variables: dict[str, Any], streams: dict[str, Answers]
    ) -> None:
        answers = streams[step["read"]] if "read" in step else self._begin(step, variables)
        if "open" in step:
            streams[step["open"]] = answers
        reply, error = await answers.read(lambda merged: is_enough(step, merged))
        if "open" not in step and "read" not in step:
            await answers.cancel()
        self._check(step, reply, error, variables)

    def _begin(self, step: dict[str, Any], variables: dict[str, Any]) -> Answers:
        service, _, name = step["call"].partition("/")
        methods = descriptor_pool.Default().FindServiceByName(service).methods_by_name
        method: MethodDescriptor = methods[name]
        request = message_factory.GetMessageClass(method.input_type)()
        try:
            ParseDict(expand(step["request"], variables), request)
        except ParseError as error:
            raise Mismatch(f"the request is no {method.input_type.name}: {error}") from None
        return self._client.begin(
            method, request, step.get("timeout_s", TIMEOUT_S), step.get("metadata", {})
        )

    @staticmethod
    def _check(
        step: dict[str, Any], reply: Any, error: dict[str, Any] | None, variables: dict[str, Any]
    ) -> None:
        wanted = step.get("error")
        if wanted is None and error is not None:
            raise Mismatch(f"failed: {json.dumps(error, ensure_ascii=False)}")
        if wanted is not None:
            if error is None:
                raise Mismatch("did not fail")
            if "reason" in wanted:
                wanted = {"domain": DOMAIN, **wanted}
            match(wanted, error, variables, "error")
        if "reply" in step:
            actual = MessageToDict(
                reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            match(step["reply"], actual, variables, "reply")


def is_enough(step: dict[str, Any], merged: Any) -> bool:
    """Whether a step reads no further: it has as many items as it takes, or opens a stream."""
    if "take" in step:
        return all(len(getattr(merged, name)) >= count for name, count in step["take"].items())
    return "open" in step


def of_grpc(failure: grpc.aio.AioRpcError) -> dict[str, Any]:
    """A failure of a stub as the cases speak of it."""
    status = status_pb2.Status()
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    return describe(failure.code().name, failure.details(), status.details)


def describe(status: str, message: str | None, details: Iterable[Any]) -> dict[str, Any]:
    """A failure as the cases speak of it."""
    found: dict[str, Any] = {"status": status, "message": message}
    for detail in details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            found["reason"], found["domain"] = info.reason, info.domain
            found["metadata"] = dict(info.metadata)
        elif detail.Unpack(retry):
            found["retry_delay_ms"] = retry.retry_delay.ToMilliseconds()
        elif detail.Unpack(bad):
            found["fields"] = [violation.field for violation in bad.field_violations]
    return found


def load(directory: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every case's name and steps."""
    for path in sorted(Path(directory).glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            yield f"{path.stem}/{case['name']}", case["steps"]


async def run_all(client: Client, directory: str) -> int:
    """Run every case, and print a line for each; the exit status."""
    failed = 0
    runner = Runner(client)
    for name, steps in load(directory):
        try:
            await runner.run_case(steps)
            line = f"ok {name}"
        except Exception as error:  # a case that cannot be run has failed, like any other
            failed += 1
            line = f"failed {name}: {' '.join((str(error) or repr(error)).split())}"
        sys.stdout.write(line + "\n")
    return 1 if failed else 0


async def main(address: str, admin: str, directory: str) -> int:
    async with (
        grpc.aio.insecure_channel(address) as channel,
        grpc.aio.insecure_channel(admin) as admin_channel,
    ):
        return await run_all(GrpcClient(channel, admin_channel), directory)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
