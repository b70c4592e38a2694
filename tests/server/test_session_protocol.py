"""What breaks a session's protocol, chunks, and the bounds of a session."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from holdfast import Actor, Context, action, setup
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.probe import until
from tests.server.session import (
    call,
    cancel,
    chunked,
    credit,
    end_of,
    hello,
    opened,
    ping,
    raw_session,
    value_of,
)
from tests.server.wire import target

ECHO = target("echo", "a")


class Echo(Actor[dict]):  # type: ignore[type-arg]
    """Gives back what it gets."""

    state = dict

    @action(read_only=True)
    def echo(self, c: Context, text: str) -> str:
        return text

    @action(read_only=True)
    def spell(self, c: Context, size: int) -> str:
        return "x" * size

    @action
    async def fill(self, c: Context, size: int) -> str:
        c.state["filled"] = c.state.get("filled", 0) + 1
        return "x" * size

    @action(read_only=True)
    def filled(self, c: Context) -> int:
        return int(c.state.get("filled", 0))


registry = setup(use={"echo": Echo})


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry, store=MemoryStore()))[0]


def chunk(stream: int, data: bytes, last: bool = False) -> pb.SessionCommand:
    return pb.SessionCommand(stream=stream, chunk=pb.SessionChunk(data=data, last=last))


def told(stream: int, **command: Any) -> pb.SessionCommand:
    return pb.SessionCommand(stream=stream, **command)


ACKNOWLEDGE = {"acknowledge": pb.SessionAcknowledge(message=1)}


@pytest.mark.parametrize(
    ("commands", "field"),
    [
        ([hello()], "hello"),
        ([told(0, cancel=pb.SessionCancel())], "stream"),
        ([told(0, call=call(1, ECHO, "filled").call)], "stream"),
        ([call(2, ECHO, "filled"), call(2, ECHO, "filled")], "stream"),
        ([call(2, ECHO, "filled"), call(1, ECHO, "filled")], "stream"),
        ([told(4, ping=pb.SessionPing())], "ping"),
        ([told(4, token=pb.SessionToken())], "token"),
        ([told(4)], "command"),
        ([call(1, ECHO, "fill", 1), credit(1, 1)], "credit"),
        ([call(1, ECHO, "fill", 1), told(1, **ACKNOWLEDGE)], "acknowledge"),
        ([call(1, ECHO, "fill", 1), chunk(1, b"x")], "chunk"),
        ([chunk(0, b"x")], "chunk"),
        ([chunk(1, b"\xff\xff\xff", last=True)], "chunk"),
        ([chunk(1, b"", last=True)], "chunk"),
        ([chunk(1, call(2, ECHO, "filled").SerializeToString(), last=True)], "chunk"),
        ([chunk(1, ping(1).SerializeToString(), last=True)], "chunk"),
        ([chunk(1, b"x"), credit(1, 1)], "credit"),
    ],
)
async def test_a_protocol_error_ends_the_session_and_names_the_field(
    server: Server, commands: list[pb.SessionCommand], field: str
) -> None:
    async with opened(server) as session:
        session.send(*commands)
        refusal = await session.failure()

        assert (refusal.status, refusal.reason) == ("INVALID_ARGUMENT", "SESSION_INVALID")
        assert refusal.metadata["field"] == field
        assert refusal.message.startswith(f"{field}: ")


async def test_what_is_no_frame_ends_the_session(server: Server) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        rpc = channel.stream_stream("/holdfast.v1.SessionService/OpenSession")()
        await rpc.write(pb.OpenSessionRequest(commands=[hello()]).SerializeToString())
        assert pb.OpenSessionResponse.FromString(await rpc.read()).answers[0].welcome.protocol == 1
        await rpc.write(b"\xff\xff\xff\xff")
        assert await rpc.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "frame" in (await rpc.details())


async def test_what_is_about_no_open_stream_is_ignored(server: Server) -> None:
    async with opened(server) as session:
        session.send(cancel(7), credit(7, 1), told(7, **ACKNOWLEDGE), call(1, ECHO, "filled"))
        assert value_of(await session.answer(1)) == 0
        # A number that has ended is used up, a higher one may follow at any distance.
        session.send(cancel(1), call(1 << 40, ECHO, "filled"))
        assert value_of(await session.answer(1 << 40)) == 0


# Chunks


async def test_large_calls_and_results_travel_in_chunks(server: Server) -> None:
    text = "y" * 900_000
    async with opened(server) as session:
        session.send_frames(*chunked(call(1, ECHO, "echo", text), 64 << 10))
        assert value_of(await session.answer(1)) == text
        sizes = [
            len(answer.chunk.data)
            for frame in session.frames
            for answer in frame.answers
            if answer.WhichOneof("answer") == "chunk"
        ]
        assert len(sizes) == 14
        assert max(sizes) == 64 << 10
        assert max(frame.ByteSize() for frame in session.frames) < 300_000


async def test_others_travel_between_chunks(server: Server) -> None:
    one, two = (chunked(call(n, ECHO, "echo", f"{n}" * 5000), 1000) for n in (1, 2))
    async with opened(server) as session:
        mixed = [part for pair in zip(one, two, strict=True) for part in pair]
        session.send(*mixed[:-2], call(3, ECHO, "echo", "small"))
        assert value_of(await session.answer(3)) == "small"
        session.send(*mixed[-2:])
        assert value_of(await session.answer(1)) == "1" * 5000
        assert value_of(await session.answer(2)) == "2" * 5000


async def test_a_command_that_is_too_long_ends_its_stream_only(server: Server) -> None:
    async with opened(server) as session:
        parts = chunked(call(1, ECHO, "echo", "z" * (5 << 20)), 1 << 20)
        session.send_frames(*parts, call(2, ECHO, "filled"))
        refusal = end_of(await session.answer(1))

        assert (refusal.reason, refusal.metadata["field"]) == ("MESSAGE_INCOMING_TOO_LONG", "chunk")
        assert refusal.metadata["limit"] == str(5 << 20)
        assert value_of(await session.answer(2)) == 0
        assert session.waiting(1) == 0


async def test_a_command_in_chunks_can_be_given_up(server: Server) -> None:
    async with opened(server) as session:
        session.send(chunk(1, b"x" * 1000), cancel(1), chunk(1, b"x", last=True))
        assert end_of(await session.answer(1)).reason == "CANCELLED"
        session.send(chunk(2, b"half"), call(3, ECHO, "filled"))
        assert value_of(await session.answer(3)) == 0
        session.finish()
        await session.done()


async def test_unfinished_commands_have_a_bound(start: Start) -> None:
    server, _ = await start(registry, store=MemoryStore(), session_chunks_bytes_max=5000)
    async with opened(server) as session:
        session.send(*[chunk(n, b"x" * 1000) for n in range(1, 7)])
        refusal = await session.failure()

        assert (refusal.reason, refusal.metadata["field"]) == ("SESSION_INVALID", "chunk")
        assert refusal.metadata["limit"] == "5000"


async def test_unfinished_commands_count_as_streams(start: Start) -> None:
    server, _ = await start(registry, store=MemoryStore(), session_streams_max=2)
    async with opened(server) as session:
        session.send(*[chunk(n, b"x") for n in (1, 2, 3)])
        assert end_of(await session.answer(3)).reason == "SESSION_TOO_MANY_STREAMS"


# Bounds


async def test_sessions_are_counted(start: Start) -> None:
    server, _ = await start(registry, store=MemoryStore(), sessions_max=1)
    async with opened(server) as first:
        async with raw_session(server, hello()) as second:
            refusal = await second.failure()
        assert (refusal.reason, refusal.metadata["limit"]) == ("SERVER_OVERLOADED", "1")
        first.finish()
        await first.done()
    async with opened(server):
        pass


async def test_a_silent_client_counts_as_broken(start: Start) -> None:
    server, _ = await start(registry, store=MemoryStore(), session_idle_s=0.2)
    async with opened(server) as session:
        refusal = await session.failure()
        assert (refusal.reason, refusal.metadata["limit"]) == (
            "DEADLINE_EXCEEDED",
            "session_idle_s",
        )
    async with raw_session(server) as session:
        assert (await session.failure()).metadata["limit"] == "session_idle_s"


async def test_a_client_that_takes_nothing_is_read_no_more_and_then_ended(start: Start) -> None:
    limits = {"session_send_bytes_max": 100_000, "session_stall_s": 1.0}
    # Answers leave with the first commit, which comes before so many calls can be read.
    server, client = await start(registry, store=MemoryStore(), commit_wait_s=0, **limits)
    count = 900
    async with opened(server) as session:
        session.pause()
        session.send_frames(*[call(n, ECHO, "fill", 200_000) for n in range(1, count + 1)])
        await until(lambda: not server.listener.sessions.open)
        filled = await client.get_or_create(Echo, ["a"]).filled()
        session.go_on()

        # What the transports hold, and no more, has been asked of the actor.
        assert 1 <= filled < count
        refusal = await session.failure()
        assert (refusal.reason, refusal.metadata["limit"]) == (
            "DEADLINE_EXCEEDED",
            "session_stall_s",
        )
    assert await client.get_or_create(Echo, ["a"]).filled() == filled


async def test_a_slow_reader_gets_everything_and_holds_up_nobody(start: Start) -> None:
    server, _ = await start(registry, store=MemoryStore(), session_send_bytes_max=100_000)
    count = 60
    async with opened(server) as slow, opened(server) as other:
        slow.pause()
        slow.send_frames(*[call(n, ECHO, "fill", 500_000) for n in range(1, count + 1)])
        for number in range(1, 50):
            other.send(call(number, ECHO, "filled"))
            value_of(await other.answer(number))
        slow.go_on()
        for number in range(1, count + 1):
            assert len(json.loads((await slow.answer(number)).result.result.data)) == 500_000
