"""A drain: nothing new begins, what runs may finish, everybody hears how it ended."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import Actor, Context, action, setup
from holdfast.v1 import actor_pb2, payload_pb2
from holdfast.v1 import actor_service_pb2 as pb
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.server.process import ServerProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Gates:
    """Where handlers wait for the test."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()


gates: Gates


class Slow(Actor[dict]):  # type: ignore[type-arg]
    """Waits for the test in each way a handler can."""

    state = dict

    @action
    async def wait(self, c: Context) -> int:
        c.state["n"] = c.state.get("n", 0) + 1
        gates.reached.set()
        await gates.released.wait()
        other: int = await c.client.get_or_create("slow", ["other"]).action("count")
        return int(c.state["n"]) + other

    @action
    async def count(self, c: Context) -> int:
        c.state["n"] = c.state.get("n", 0) + 1
        return int(c.state["n"])

    @action(read_only=True)
    def value(self, c: Context) -> int:
        return int(c.state.get("n", 0))

    @action
    async def tick(self, c: Context, steps: int) -> AsyncIterator[int]:
        for step in range(steps):
            c.state["n"] = step + 1
            yield step + 1
            gates.reached.set()

    @action
    async def hang(self, c: Context) -> AsyncIterator[int]:
        yield 1
        gates.reached.set()
        await gates.released.wait()


registry = setup(use={"slow": Slow})


class Running:
    """A server in this process and a channel to it, without an SDK that retries."""

    def __init__(self, data: Path, **settings: Any) -> None:
        flags = {"data": data, "grpc": "127.0.0.1:0", "admin": "off", **settings}
        self.server = Server(registry, load({}, **flags))

    async def __aenter__(self) -> Running:
        global gates
        gates = Gates()
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.actors: Any = ActorServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        if not self.server.node.closed:
            await self.server.stop()

    async def invoke(self, name: str) -> int:
        answer = await self.actors.InvokeAction(request(pb.InvokeActionRequest, name))
        return int(json.loads(answer.result.data))

    def stream(self, name: str, *args: int) -> Any:
        return self.actors.StreamAction(request(pb.StreamActionRequest, name, *args))


def request(kind: Any, name: str, *args: int) -> Any:
    target = actor_pb2.ActorTarget(get_or_create=actor_pb2.ActorKey(name="slow", key=["a"]))
    payload = payload_pb2.Payload(
        encoding=payload_pb2.PAYLOAD_ENCODING_JSON, data=json.dumps(args).encode()
    )
    return kind(target=target, action=name, args=payload)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(details["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return info.reason


async def value_after(data: Path) -> int:
    async with Running(data) as again:
        return await again.invoke("value")


async def test_what_runs_finishes_and_nothing_new_begins(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        watch = running.health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.create_task(running.invoke("wait"))
        await gates.reached.wait()

        stopping = asyncio.create_task(running.server.stop())

        assert (await watch.read()).status == NOT_SERVING
        for refused in (running.invoke("count"), running.invoke("value")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason_of(caught.value) == "SERVER_DRAINING"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stream("tick", 1).read()
        assert reason_of(caught.value) == "SERVER_DRAINING"
        checked = running.health.Check(health_pb2.HealthCheckRequest())
        assert (await checked).status == NOT_SERVING
        assert dict(await checked.trailing_metadata())["holdfast-reason"] == (
            "the server is draining"
        )

        gates.released.set()
        # Its call to another actor is a part of it, and is not refused.
        assert await call == 2
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert reason_of(caught.value) == "SERVER_DRAINING"
    assert await value_after(tmp_path) == 1


async def test_a_turn_that_does_not_end_is_cut_and_leaves_no_trace(tmp_path: Path) -> None:
    async with Running(tmp_path, drain_timeout_s=0) as running:
        call = asyncio.create_task(running.invoke("wait"))
        await gates.reached.wait()

        await running.server.stop()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(caught.value) == "COMMIT_UNKNOWN"
        assert "retry with the same idempotency key" in (caught.value.details() or "")
    assert await value_after(tmp_path) == 0


async def test_a_stream_ends_after_an_item_and_says_why(tmp_path: Path) -> None:
    async with Running(tmp_path, drain_streams_s=0) as running:
        stream = running.stream("tick", 1_000_000)
        assert (await stream.read()).items
        await gates.reached.wait()

        stopping = asyncio.create_task(running.server.stop())
        last = 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                last = int(json.loads((await stream.read()).items[-1].data))
        await stopping

        assert reason_of(caught.value) == "SERVER_DRAINING"
        assert "the stream ends after this item" in (caught.value.details() or "")
    assert await value_after(tmp_path) == last


async def test_a_stream_that_ends_in_time_is_whole(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        stream = running.stream("tick", 50)
        answers = [await stream.read()]

        stopping = asyncio.create_task(running.server.stop())
        while (answer := await stream.read()) is not grpc.aio.EOF:
            answers.append(answer)
        await stopping

    items = [json.loads(item.data) for answer in answers for item in answer.items]
    assert items == list(range(1, 51))


async def test_a_stream_that_hangs_is_cut(tmp_path: Path) -> None:
    async with Running(tmp_path, drain_timeout_s=0) as running:
        stream = running.stream("hang")
        assert (await stream.read()).items
        reading = asyncio.create_task(stream.read())
        await gates.reached.wait()

        await running.server.stop()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reading
        assert reason_of(caught.value) == "COMMIT_UNKNOWN"


async def test_a_client_that_cancels_is_not_answered_as_by_a_drain(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        call = asyncio.create_task(running.invoke("wait"))
        await gates.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        assert await running.invoke("value") == 0
        assert not running.server.listener.calls.draining


# Real processes

MEETING = """
import asyncio, socket
from holdfast import Actor, Context, action, setup

def meet(path: str) -> socket.socket:
    meeting = socket.socket(socket.AF_UNIX)
    meeting.connect(path)
    return meeting

class Meeting(Actor[dict]):
    state = dict

    @action
    async def wait(self, c: Context, path: str) -> str:
        c.state["met"] = True
        reader, writer = await asyncio.open_unix_connection(path)
        await reader.read()
        writer.close()
        return "done"

    @action
    def hold(self, c: Context, path: str) -> None:
        meet(path).recv(1)

    @action(thread=True)
    def thread(self, c: Context, path: str) -> None:
        meet(path).recv(1)

    @action(read_only=True)
    def met(self, c: Context) -> bool:
        return bool(c.state.get("met"))

registry = setup(use={"meeting": Meeting})
"""


class Meeting:
    """A socket where a handler of another process waits for the test."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "meeting")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()

    async def reached(self) -> socket.socket:
        return (await asyncio.to_thread(self._server.accept))[0]

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


def call(stub: Any, name: str, *args: str) -> asyncio.Task[Any]:
    target = actor_pb2.ActorTarget(get_or_create=actor_pb2.ActorKey(name="meeting", key=["a"]))
    payload = payload_pb2.Payload(
        encoding=payload_pb2.PAYLOAD_ENCODING_JSON, data=json.dumps(args).encode()
    )
    asked = pb.InvokeActionRequest(target=target, action=name, args=payload)

    async def run() -> Any:
        return json.loads((await stub.InvokeAction(asked)).result.data)

    return asyncio.create_task(run())


async def test_sigterm_finishes_what_runs_and_exits_with_0(tmp_path: Path) -> None:
    with Meeting(tmp_path) as meeting, ServerProcess(tmp_path, app=MEETING) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = ActorServiceStub(channel)
            waiting = call(stub, "wait", meeting.path)
            connection = await meeting.reached()
            server.signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for, "draining")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(stub, "met")
            assert reason_of(caught.value) == "SERVER_DRAINING"
            connection.close()

            assert await waiting == "done"
            assert await asyncio.to_thread(server.wait) == 0
    assert "drained" in server.output
    with ServerProcess(tmp_path, app=MEETING) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(ActorServiceStub(channel), "met") is True


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_second_signal_exits_at_once_even_while_the_loop_is_held(
    tmp_path: Path, loop: str
) -> None:
    with (
        Meeting(tmp_path) as meeting,
        ServerProcess(tmp_path, "--loop", loop, app=MEETING) as server,
    ):
        async with grpc.aio.insecure_channel(server.address) as channel:
            held = call(ActorServiceStub(channel), "hold", meeting.path)
            connection = await meeting.reached()
            server.signal(signal.SIGINT)
            # The kernel may join two signals of one number, but never two numbers.
            server.signal(signal.SIGTERM)

            assert await asyncio.to_thread(server.wait) in (
                128 + signal.SIGTERM,
                128 + signal.SIGINT,
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await held
            connection.close()
    assert "a second signal: exiting at once" in server.output


async def test_a_threaded_action_cannot_hold_the_exit_up(tmp_path: Path) -> None:
    with (
        Meeting(tmp_path) as meeting,
        ServerProcess(tmp_path, "--drain-timeout-s", "0", app=MEETING) as server,
    ):
        async with grpc.aio.insecure_channel(server.address) as channel:
            held = call(ActorServiceStub(channel), "thread", meeting.path)
            connection = await meeting.reached()
            server.signal(signal.SIGTERM)

            assert await asyncio.to_thread(server.wait) == 0
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await held
            assert reason_of(caught.value) == "COMMIT_UNKNOWN"
            connection.close()
    assert "a threaded action still runs and is left behind" in server.output
