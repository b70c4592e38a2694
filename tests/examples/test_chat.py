"""The chat: what the room, the audit log and the statistics know after a talk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from examples.chat.app import (
    TEXT_CHARS_MAX,
    USER_CHARS_MAX,
    AuditLog,
    ChatRoom,
    RoomInput,
    Stats,
)
from holdfast import ActorError, Client
from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "chat"
NEW = [
    "The room is new: nobody has said anything yet.",
    "ada sends message 1: hello, is anyone here?  (synced to disk)",
    "grace sends message 2: I am. Does this room remember?  (synced to disk)",
    "eve is refused: user.not_a_member: eve is not in this room",
    "Members: ada, grace",
    "Audit log: grace sent message 2 to general",
    "Messages by room: {'general': 2}",
]
REMEMBERED = [
    "The room remembers its last 2 messages:",
    "    1  ada: hello, is anyone here?",
    "    2  grace: I am. Does this room remember?",
]


def test_the_client_talks_and_the_room_remembers_a_kill(server: ServerProcess) -> None:
    assert run_client(server, EXAMPLE) == NEW
    server.kill()
    server.start()

    again = run_client(server, EXAMPLE)

    assert again[:3] == REMEMBERED
    assert again[-1] == "Messages by room: {'general': 4}"


async def test_history_is_the_last_messages_in_order(client: Client, own: str) -> None:
    room = client.get_or_create(ChatRoom, [own, "room"], input=RoomInput(topic="tests"))
    assert await room.join("ada") == ["ada"]
    assert await room.join("ada") == ["ada"]
    began = datetime.now(UTC)
    for number in range(12):
        await room.send("ada", f"text {number}")

    last = await room.history(3)

    assert [(m.number, m.user, m.text) for m in last] == [
        (10, "ada", "text 9"),
        (11, "ada", "text 10"),
        (12, "ada", "text 11"),
    ]
    # The clock of a server counts milliseconds.
    assert all(message.sent_at > began - timedelta(milliseconds=1) for message in last)
    assert len(await room.history()) == 12
    assert await room.history(0) == await room.history(-1) == []


async def test_an_organisation_counts_its_rooms_together(client: Client, own: str) -> None:
    for room_name in ("one", "two"):
        room = client.get_or_create(ChatRoom, [own, room_name])
        await room.join("ada")
        receipt = await room.send("ada", "hi")

    assert receipt.number == 1
    assert receipt.sent_by_organisation == 2
    assert await client.get(Stats, [own]).totals() == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    ("action", "arguments", "code"),
    [
        ("join", [""], "bad_name"),
        ("join", ["x" * (USER_CHARS_MAX + 1)], "bad_name"),
        ("join", [7], "invalid_argument"),
        ("send", ["eve", "hi"], "not_a_member"),
        ("send", ["ada", ""], "bad_text"),
        ("send", ["ada", "x" * (TEXT_CHARS_MAX + 1)], "bad_text"),
        ("send", ["ada"], "invalid_argument"),
        ("history", ["all"], "invalid_argument"),
        ("shout", [], "not_found"),
    ],
)
async def test_what_is_refused_leaves_no_message(
    client: Client, own: str, action: str, arguments: list[Any], code: str
) -> None:
    room = client.get_or_create(ChatRoom, [own, "room"])
    await room.join("ada")

    with pytest.raises(ActorError) as caught:
        await room.action(action, *arguments)

    assert caught.value.code == code
    assert await room.history() == []
    assert await room.members() == ["ada"]


async def test_a_refused_text_says_how_long_it_was(client: Client, own: str) -> None:
    room = client.get_or_create(ChatRoom, [own, "room"])
    await room.join("ada")

    with pytest.raises(ActorError) as caught:
        await room.send("ada", "")

    assert caught.value.metadata == {"characters": 0}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"user": ""}, "bad_name"),
        ({"user": "x" * (USER_CHARS_MAX + 1)}, "bad_name"),
        ({"user": 7}, "bad_params"),
        ({"name": "ada"}, "bad_params"),
        ("ada", "bad_params"),
    ],
)
async def test_a_visitor_says_who_they_are_or_nothing(
    client: Client, own: str, params: Any, code: str
) -> None:
    with pytest.raises(ActorError) as caught:
        async with client.get_or_create(ChatRoom, [own, "room"]).connect(params=params) as room:
            await room.present()

    assert caught.value.code == code
    with pytest.raises(ActorError) as caught:
        async with client.get_or_create(ChatRoom, [own, "room"]).connect() as room:
            await room.say("who am I?")
    assert caught.value.code == "nameless"


@pytest.mark.parametrize("key", [[], ["general"], ["org", "room", "more"]])
async def test_a_room_has_an_organisation_and_a_name(client: Client, key: list[str]) -> None:
    with pytest.raises(ActorError) as caught:
        await client.get_or_create(ChatRoom, key).members()

    assert (caught.value.group, caught.value.code) == ("user", "bad_key")
    assert tuple(key) not in [actor.key async for actor in client.list(ChatRoom)]


async def test_the_audit_log_numbers_its_records(client: Client, own: str) -> None:
    log = client.get_or_create(AuditLog, [own])
    for text in ("one", "two", "three"):
        await log.record(text)

    assert await log.records(2) == ["two", "three"]
