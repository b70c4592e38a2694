"""Sessions that go on: resume tokens, renewed and revoked tokens, drain, spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.memory import MemoryStore
from tests.server.actors import registry
from tests.server.conftest import Start
from tests.server.session import call, end_of, hello, opened, raw_session, value_of
from tests.server.wire import target

COUNTER = target("counter", "a")


# Resume tokens


async def test_a_session_that_goes_on_keeps_its_token(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as first:
        token = first.welcome.resume_token
        await first.cut()
    async with opened(server, resume_token=token) as second:
        assert second.welcome.resume_token == token
    async with opened(server) as third:
        assert third.welcome.resume_token != token


async def test_of_two_with_one_token_the_later_wins(start: Start) -> None:
    server, _ = await start(store=MemoryStore(), drain_timeout_s=0.2)
    async with opened(server) as first:
        first.send(call(1, COUNTER, "sleep", 60))
        await first.pong()
        async with opened(server, resume_token=first.welcome.resume_token) as second:
            refusal = await first.failure()
            assert (refusal.status, refusal.reason) == ("ABORTED", "SESSION_SUPERSEDED")
            assert second.welcome.resumed
            second.send(call(1, target("counter", "b"), "increment"))
            assert value_of(await second.answer(1)) == 1


async def test_an_unknown_token_opens_a_session(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server, resume_token=b"t" * 32) as session:
        assert not session.welcome.resumed
        assert session.welcome.resume_token == b"t" * 32
        session.send(call(1, COUNTER, "increment"))
        assert value_of(await session.answer(1)) == 1


async def test_a_token_is_worth_nothing_in_another_namespace(start: Start) -> None:
    server, _ = await start(store=MemoryStore(), namespaces="default,other")
    async with opened(server) as first:
        token = first.welcome.resume_token
        async with opened(server, namespace="other", resume_token=token) as second:
            assert not second.welcome.resumed
            await first.pong()


# Tokens of callers


@asynccontextmanager
async def guarded(tmp_path: Path, tokens: str) -> AsyncIterator[tuple[Server, Path]]:
    """A server whose tokens are in a file."""
    file = tmp_path / "tokens"
    file.write_text(tokens)
    flags: dict[str, Any] = {
        "data": str(tmp_path / "data"),
        "grpc": "127.0.0.1:0",
        "drain_timeout_s": 0.2,
    }
    server = Server(registry, load({}, token_file=str(file), **flags), MemoryStore())
    await server.start()
    try:
        yield server, file
    finally:
        await server.stop()


def renewed(token: str) -> pb.SessionCommand:
    return pb.SessionCommand(token=pb.SessionToken(token=token))


TOKENS = "ada old-ada\nada new-ada\nbob bobs\n"


async def test_a_session_needs_a_token(tmp_path: Path) -> None:
    async with guarded(tmp_path, TOKENS) as (server, _):
        for token in (None, "wrong"):
            async with raw_session(server, hello(), token=token) as session:
                assert (await session.failure()).reason == "UNAUTHENTICATED"


async def test_a_token_can_be_renewed_by_its_caller_only(tmp_path: Path) -> None:
    async with guarded(tmp_path, TOKENS) as (server, file):
        async with opened(server, token="old-ada") as session:
            session.send(renewed("new-ada"), call(1, COUNTER, "increment"))
            assert value_of(await session.answer(1)) == 1
            file.write_text("ada new-ada\nbob bobs\n")
            server.security.reload()
            await session.pong()
            session.send(renewed("bobs"))
            refusal = await session.failure()
            assert (refusal.status, refusal.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        async with opened(server, token="new-ada") as session:
            session.send(renewed("none"))
            assert (await session.failure()).reason == "UNAUTHENTICATED"


async def test_a_revoked_token_ends_its_sessions_which_may_go_on(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, TOKENS) as (server, file),
        opened(server, token="old-ada") as ada,
        opened(server, token="bobs") as bob,
    ):
        ada.send(call(1, COUNTER, "sleep", 60))
        await ada.pong()
        file.write_text("ada new-ada\nbob bobs\n")
        server.security.reload()
        assert (await ada.failure()).reason == "UNAUTHENTICATED"
        await bob.pong()
        token = ada.welcome.resume_token
        async with opened(server, token="new-ada", resume_token=token) as again:
            assert again.welcome.resume_token == token


async def test_keys_and_resume_tokens_belong_to_their_caller(tmp_path: Path) -> None:
    async with guarded(tmp_path, TOKENS) as (server, _):
        results = []
        async with opened(server, token="old-ada") as first:
            for token in ("old-ada", "new-ada", "bobs"):
                async with opened(server, token=token) as session:
                    session.send(call(1, COUNTER, "increment", idempotency_key="k"))
                    results.append(value_of(await session.answer(1)))
            resume = first.welcome.resume_token
            async with opened(server, token="bobs", resume_token=resume) as thief:
                assert not thief.welcome.resumed
                await first.pong()
        assert results == [1, 1, 2]


# Drain


async def test_a_drain_says_so_answers_what_runs_and_ends(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as session:
        session.send(call(1, COUNTER, "sleep", 0.3))
        await session.pong()
        stopping = asyncio.create_task(server.stop())
        assert (await session.answer(0)).WhichOneof("answer") == "go_away"
        session.send(call(2, COUNTER, "value"))
        assert end_of(await session.answer(2)).reason == "SERVER_DRAINING"
        async with raw_session(server, hello()) as late:
            assert (await late.failure()).reason == "SERVER_DRAINING"

        assert (await session.answer(1)).WhichOneof("answer") == "result"
        refusal = await session.failure()
        assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
        assert refusal.retry_after_s is not None
        await stopping


async def test_a_drain_cuts_what_does_not_end(start: Start) -> None:
    server, _ = await start(store=MemoryStore(), drain_timeout_s=0.2)
    async with opened(server) as session:
        session.send(
            call(1, COUNTER, "sleep", 60, idempotency_key="k"), call(2, COUNTER, "increment")
        )
        await session.pong()
        await server.stop()
        refusals = [end_of(await session.answer(n)) for n in (1, 2)]

        assert [each.reason for each in refusals] == ["COMMIT_UNKNOWN"] * 2
        # Only the one that has a key may be sent again.
        assert refusals[0].retry_after_s is not None
        assert refusals[1].retry_after_s is None


@pytest.mark.parametrize("window", [1, 1 << 20])
async def test_a_drain_ends_streams_between_two_items(start: Start, window: int) -> None:
    server, _ = await start(store=MemoryStore(), drain_streams_s=0.1, drain_timeout_s=20)
    async with opened(server) as session:
        session.send(call(1, COUNTER, "stream", 1_000_000, streaming=True, window_bytes=window))
        await session.answer(1)
        await server.stop()
        assert end_of((await session.answers_to_end(1))[-1]).reason == "SERVER_DRAINING"
