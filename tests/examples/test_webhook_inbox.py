"""The inbox of webhooks, inside its web application and on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from examples.webhook_inbox.app import BODY_BYTES_MAX, Inbox, make_app, sign
from examples.webhook_inbox.client import call, deliver, main
from holdfast import ActorError, setup
from holdfast.testing import harness
from tests.asgi_server import served


@asynccontextmanager
async def inbox(data: Path) -> AsyncIterator[aiohttp.ClientSession]:
    app = make_app(data=str(data), grpc="127.0.0.1:0", admin="off", drain_timeout_s=2.0)
    async with served(app) as session:
        yield session


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with inbox(tmp_path / "data") as session:
        yield session


async def test_the_client_prints_what_it_did(
    session: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(str(session._base_url))

    assert capsys.readouterr().out.splitlines() == [
        "d-1 202 {'taken': 1}",
        "d-2 202 {'taken': 2}",
        "d-1 202 {'taken': 1}",
        "forged 401",
        "2 d-2 {'paid': 25}",
        "1 d-1 {'paid': 10}",
        "replays 1",
        "no_such_hook",
    ]


async def test_what_was_taken_is_taken_once_across_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with inbox(tmp_path / "data") as session:
            answers = [deliver(session, "acme", "d-1", {"n": 1}) for _ in range(5)]
            assert await asyncio.gather(*answers) == [(202, {"taken": 1})] * 5
            assert (await call(session, "acme", "counts"))["received"] == 1


@pytest.mark.parametrize(
    ("tenant", "forged"),
    [("acme", {"x-signature": ""}), ("acme", {"x-delivery-id": "d-2"}), ("other", {})],
)
async def test_what_is_not_signed_for_this_is_refused_and_leaves_nothing(
    session: aiohttp.ClientSession, tenant: str, forged: dict[str, str]
) -> None:
    if tenant == "other":
        forged = {"x-signature": sign("acme", "d-1", b"1")}
    assert (await deliver(session, tenant, "d-1", 1, **forged))[0] == 401
    async with session.get("/actors/actors?namespace=default&name=inbox") as answer:
        assert (await answer.json())["actors"] == []
    # Nor does it use up the id.
    assert (await deliver(session, tenant, "d-1", 1))[0] == 202


async def test_what_cannot_be_taken_is_refused(session: aiohttp.ClientSession) -> None:
    assert (await deliver(session, "acme", "", 1))[0] == 400
    assert (await deliver(session, "acme", "d-1", "x" * BODY_BYTES_MAX))[0] == 413
    assert (await deliver(session, "acme", "d-1", 1))[0] == 202
    assert (await deliver(session, "acme", "d-1", 2))[0] == 409


async def test_webhooks_are_paged_replayed_and_forgotten() -> None:
    async with harness(setup(use={"inbox": Inbox})) as h:
        acme = h.client.get_or_create(Inbox, ["acme"])
        for number in range(5):
            await acme.take(f"d-{number}", number)
        assert [hook.number for hook in await acme.list(2)] == [5, 4]
        assert [hook.number for hook in await acme.list(2, before=4)] == [3, 2]
        assert (await acme.replay(3)).body == 2
        events = acme.events("hook", from_sequence=1)
        heard = [(await anext(events)).args[0] for _ in range(6)]
        assert [hook.number for hook in heard] == [1, 2, 3, 4, 5, 3]
        with pytest.raises(ActorError) as refused:
            await acme.list(0)
        assert refused.value.code == "bad_limit"
        await h.advance(days=31)
        assert await acme.list() == []
