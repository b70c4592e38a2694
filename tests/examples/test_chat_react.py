"""The actors of the chat in the browser; tests/browser has the page and two people in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.chat_react.app import (
    FIRST_ROOM,
    LOBBY,
    NAME_CHARS_MAX,
    PAGE_MAX,
    ROOMS_MAX,
    TEXT_CHARS_MAX,
    ChatRoom,
    Lobby,
    make_app,
    registry,
)
from holdfast import ActorError, Client
from holdfast.testing import harness
from tests.asgi_server import served


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with harness(registry) as world:
        yield world.client


def events(connection: Any, name: str) -> asyncio.Queue[Any]:
    """What an event tells, as it comes."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    connection.on(name, queue.put_nowait)
    return queue


async def test_what_is_said_is_heard_kept_and_counted_in_the_lobby(client: Client) -> None:
    room = client.get_or_create(ChatRoom, ["engines"])
    lobby = client.get_or_create(Lobby, [LOBBY])
    await lobby.open("engines")
    async with (
        lobby.connect() as watching,
        room.connect(params={"user": "ada"}) as ada,
        room.connect(params={"user": "grace"}) as grace,
    ):
        rooms, heard, typing = (
            events(watching, "rooms"),
            events(grace, "message"),
            events(grace, "typing"),
        )
        await watching.rooms()
        assert (await grace.look()).present == ["ada", "grace"]

        await ada.typing()
        said = await ada.say("  hello  ")

        assert await typing.get() == "ada"
        assert await heard.get() == said
        assert (said.number, said.user, said.text) == (1, "ada", "hello")
        assert await rooms.get() == {FIRST_ROOM: 0, "engines": 1}
        assert (await grace.look()).messages == [said]


async def test_history_comes_in_pages(client: Client) -> None:
    async with client.get_or_create(ChatRoom, ["long"]).connect(params={"user": "ada"}) as room:
        for number in range(PAGE_MAX + 5):
            await room.say(str(number))

        page = await room.history(10**9, PAGE_MAX + 1)
        assert [message.number for message in page] == list(range(1, PAGE_MAX + 1))
        assert [message.number for message in await room.history(2, 4)] == [2, 3]
        assert await room.history(-1, 1) == []
        assert (await room.look(1)).messages[0].number == PAGE_MAX + 5


async def test_who_leaves_is_no_longer_there_with_the_last_window(client: Client) -> None:
    room = client.get_or_create(ChatRoom, ["lounge"])
    async with room.connect(params={"user": "grace"}) as grace:
        present = events(grace, "present")
        await grace.look()
        async with room.connect(params={"user": "ada"}):
            while await present.get() != ["ada", "grace"]:
                pass
            async with room.connect(params={"user": "ada"}):
                assert await present.get() == ["ada", "grace"]
            assert await present.get() == ["ada", "grace"]
        assert await present.get() == ["grace"]


@pytest.mark.parametrize(
    "params", [None, {}, {"user": ""}, {"user": " "}, {"user": "x" * (NAME_CHARS_MAX + 1)}, [1]]
)
async def test_whoever_has_no_name_is_refused(client: Client, params: Any) -> None:
    with pytest.raises(ActorError) as caught:
        async with client.get_or_create(ChatRoom, ["lounge"]).connect(params=params) as room:
            await room.look()

    assert caught.value.code == "bad_name"


@pytest.mark.parametrize("text", ["", "  ", "x" * (TEXT_CHARS_MAX + 1)])
async def test_a_text_that_is_none_is_refused_and_leaves_nothing(client: Client, text: str) -> None:
    async with client.get_or_create(ChatRoom, ["lounge"]).connect(params={"user": "ada"}) as room:
        with pytest.raises(ActorError) as caught:
            await room.say(text)

        assert caught.value.code == "bad_text"
        assert (await room.look()).messages == []


async def test_a_room_has_a_name_and_their_number_is_bounded(client: Client) -> None:
    lobby = client.get_or_create(Lobby, [LOBBY])
    with pytest.raises(ActorError) as caught:
        await lobby.open("x" * (NAME_CHARS_MAX + 1))
    assert caught.value.code == "bad_name"
    for number in range(ROOMS_MAX - 1):
        await lobby.open(f"room-{number}")
    assert len(await lobby.open("room-0")) == ROOMS_MAX

    with pytest.raises(ActorError) as caught:
        await lobby.open("one-more")

    assert caught.value.code == "too_many_rooms"


async def test_the_application_serves_the_page_and_the_actors(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("the page")
    app = make_app(page, data=str(tmp_path / "data"), grpc="off", admin="off")
    async with served(app) as session:
        async with session.get("/") as answer:
            assert await answer.text() == "the page"
        path = "/api/rivet/gateway/lobby/action/rooms"
        query = {
            "rvt-namespace": "default",
            "rvt-method": "getOrCreate",
            "rvt-runner": "default",
            "rvt-key": LOBBY,
        }
        async with session.post(path, params=query, json={"args": []}) as answer:
            assert await answer.json() == {"output": {FIRST_ROOM: 0}}
