"""Tests of the collaborative editor, on `holdfast.testing`.

Run them with `pytest examples/collaborative_editor`. A `Peer` is what a browser's page is,
without the window.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from examples.collaborative_editor.app import (
    DOCUMENT_BYTES_MAX,
    EDITORS_MAX,
    HAVE,
    NAME_CHARS_MAX,
    PRESENCE_BYTES_MAX,
    ROWS_BYTES_MAX,
    ROWS_MAX,
    UPDATE,
    UPDATE_BYTES_MAX,
    Document,
    registry,
)
from examples.collaborative_editor.peer import END, Peer
from holdfast import Registry, WebSocketClosed
from holdfast.testing import Harness

SAVED = '{"saved":1}'
# Both are decoded without complaint. The first is applied too, but nothing that has it can be
# encoded again; the second, after HELLO, is half applied.
POISON = bytes([1, 1, 1, 1, 0, 0, 0])
HELLO = b"\x01\x01\x07\x00\x04\x01\x04text\x05hello\x00"
HALF = bytes([1, 1, 7, 1, 1, 0, 7, 3, 8, 0])


@pytest.fixture
def holdfast_registry() -> Registry:
    return registry


@pytest.fixture
def document(holdfast_test: Harness) -> Document:
    return holdfast_test.client.get_or_create(Document, ["minutes"])


@asynccontextmanager
async def online(document: Document, *peers: Peer) -> AsyncIterator[None]:
    """These peers follow the document inside the block."""
    async with AsyncExitStack() as stack:
        for peer in peers:
            await peer.connect(await stack.enter_async_context(document.websocket()))
        yield


async def refused(document: Document, message: str | bytes) -> str:
    """With which code a message is refused; empty if it is saved."""
    async with document.websocket() as websocket:
        try:
            await websocket.send(message)
            while await websocket.receive() != SAVED:
                pass
        except WebSocketClosed as closed:
            # "group.code#ray": only what the actor refuses is in the group "user".
            return closed.reason.partition("#")[0].removeprefix("user.")
    return ""


async def until_cut_off(peer: Peer) -> None:
    """Wait until the socket of a peer has gone."""
    with suppress(WebSocketClosed):
        while True:
            await peer.receive()


async def until_text(peer: Peer, text: str) -> None:
    """Wait until a peer's replica says this."""
    while str(peer.text) != text:
        await peer.receive()


async def test_two_type_at_once_and_have_the_same(document: Document) -> None:
    ada, grace = Peer("ada"), Peer("grace")
    async with online(document, ada, grace):
        ada.text += "ada"
        grace.text += "grace"
        await ada.flush()
        await grace.flush()
        while len(ada.text) < 8 or len(grace.text) < 8:
            await (ada if len(ada.text) < 8 else grace).receive()

    assert str(ada.text) == str(grace.text) == await document.text()
    assert sorted(str(ada.text)) == sorted("adagrace")


async def test_what_was_edited_offline_is_merged(document: Document) -> None:
    ada, grace = Peer("ada"), Peer("grace")
    async with online(document, ada, grace):
        ada.text += "Bread, milk."
        await ada.flush()
        await until_text(grace, "Bread, milk.")

    grace.text.insert(5, " and butter")
    async with online(document, ada):
        ada.text += " And tea."
        del ada.text[0]
        await ada.flush()
        async with online(document, grace):
            await until_text(ada, "read and butter, milk. And tea.")
            assert str(grace.text) == str(ada.text) == await document.text()


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_in_whatever_order_all_have_the_same(
    holdfast_test: Harness, document: Document, seed: int
) -> None:
    chance = random.Random(seed)
    peers = [Peer(f"peer {number}") for number in range(3)]
    for _ in range(12):
        some = chance.sample(peers, chance.randrange(1, 4))
        async with online(document, *some):
            for _ in range(chance.randrange(6)):
                edit(chance.choice(peers), chance)
                await chance.choice(some).flush()
            if chance.random() < 0.3:
                await holdfast_test.crash()
                continue
            for peer in some:
                await peer.flush()

    for _ in range(2):
        for peer in peers:
            async with online(document, peer):
                pass
    assert {str(peer.text) for peer in peers} == {await document.text()}
    assert len(peers[0].text) > 0


def edit(peer: Peer, chance: random.Random) -> None:
    """Change something somewhere."""
    size = len(peer.text)
    if size and chance.random() < 0.2:
        del peer.text[chance.randrange(size)]
    else:
        peer.text.insert(chance.randrange(size + 1), chance.choice("abcdefgh ") * 3)


async def test_what_was_called_saved_is_there_after_a_crash(
    holdfast_test: Harness, document: Document
) -> None:
    ada = Peer("ada")
    async with online(document, ada):
        ada.text += "saved"
        await ada.flush()
        await holdfast_test.crash()
        assert await document.text() == "saved"
        await until_cut_off(ada)

    ada.text += ", and typed while nobody listened"
    async with online(document, ada):
        assert await document.text() == "saved, and typed while nobody listened"


async def test_nothing_is_called_saved_while_the_disk_takes_nothing(
    holdfast_test: Harness, document: Document
) -> None:
    ada, grace = Peer("ada"), Peer("grace")
    async with online(document, ada, grace):
        ada.text += "first "
        await ada.flush()
        await until_text(grace, "first ")
        ada.text += "second"
        with holdfast_test.faults.disk_full():
            saving = asyncio.create_task(ada.flush())
            await holdfast_test.advance(seconds=5)
            assert not saving.done()

        await holdfast_test.advance(seconds=5)

        await saving
        await until_text(grace, "first second")
    assert await document.text() == "first second"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "bad_message"),
        (b"\x07", "bad_message"),
        (HAVE + b"\xff" * 20, "bad_message"),
        (UPDATE, "bad_update"),
        (UPDATE + b"nonsense", "bad_update"),
        (UPDATE + POISON, "bad_update"),
        (UPDATE + HALF, "bad_update"),
        (UPDATE + b"\xff" * 100, "bad_update"),
        (UPDATE + bytes(UPDATE_BYTES_MAX + 1), "update_too_large"),
        ("", "bad_presence"),
        ("[" * 1000, "bad_presence"),
        ('"ada"', "bad_presence"),
        ('{"name": "ada"}', "bad_presence"),
        ('{"name": 7, "cursor": null}', "bad_presence"),
        ('{"name": " ", "cursor": null}', "bad_presence"),
        ('{"name": "ada", "cursor": NaN}', "bad_presence"),
        (json.dumps({"name": "x" * (NAME_CHARS_MAX + 1), "cursor": None}), "bad_presence"),
        (json.dumps({"name": "ada", "cursor": "x" * PRESENCE_BYTES_MAX}), "bad_presence"),
    ],
)
async def test_what_is_no_message_is_refused_and_harms_nobody(
    document: Document, message: str | bytes, code: str
) -> None:
    ada, grace = Peer("ada"), Peer("grace")
    async with online(document, ada, grace):
        assert await refused(document, UPDATE + HELLO) == ""
        ada.text += "unharmed"
        await ada.flush()

        assert await refused(document, message) == code

        assert set(await document.text()) == set("hellounharmed")
        grace.text += " and going on"
        await grace.flush()
        await until_text(ada, await document.text())
    assert "and going on" in str(ada.text)


async def test_random_bytes_harm_nobody(holdfast_test: Harness, document: Document) -> None:
    chance = random.Random(0)
    ada = Peer("ada")
    answers = set()
    async with online(document, ada):
        for _ in range(200):
            update = bytearray(HELLO)
            for _ in range(chance.randrange(1, 4)):
                update[chance.randrange(len(update))] = chance.randrange(256)
            answers.add(await refused(document, UPDATE + bytes(update)))
        ada.text += "still here"
        await ada.flush()

    assert answers == {"", "bad_update"}
    await holdfast_test.crash()
    reader = Peer("reader")
    async with online(document, reader):
        assert "still here" in str(reader.text)


async def test_what_stands_behind_an_update_is_not_passed_on(document: Document) -> None:
    async with document.websocket() as reader:
        await reader.receive()

        assert await refused(document, UPDATE + HELLO + b"and more") == ""

        assert await reader.receive() == UPDATE + HELLO
    assert (await document.facts()).stored_bytes == len(HELLO)


async def test_a_full_document_takes_no_more_until_something_is_deleted(
    document: Document,
) -> None:
    ada = Peer("ada")
    page = "x" * (UPDATE_BYTES_MAX - 1000)
    async with online(document, ada):
        for _ in range(DOCUMENT_BYTES_MAX // UPDATE_BYTES_MAX):
            ada.text += page
            await ada.flush()
    before = len(ada.text)
    assert await refused(document, UPDATE + update_of(page)) == "document_full"
    assert len(await document.text()) == before

    async with online(document, ada):
        del ada.text[0 : len(page)]
        await ada.flush()
        ada.text += "room again"
        await ada.flush()

    assert (await document.text()).endswith("room again")
    assert len(await document.text()) == before - len(page) + len("room again")


def update_of(text: str) -> bytes:
    """The update that writes a text."""
    peer = Peer("writer")
    peer.text += text
    return peer.document.get_update()


async def test_one_more_editor_than_there_may_be_is_turned_away(document: Document) -> None:
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(document.websocket()) for _ in range(EDITORS_MAX)
        ]
        for websocket in sockets:
            await websocket.receive()
        assert await refused(document, HAVE + b"\x00") == "too_many_editors"
        await sockets[0].close()
        await sockets[1].send(json.dumps({"name": "ada", "cursor": None}))
        ada = Peer("ada")
        async with online(document, ada):
            ada.text += "in"
            await ada.flush()


@pytest.mark.parametrize("size", [1, 2 * ROWS_BYTES_MAX // ROWS_MAX])
async def test_many_updates_become_a_snapshot(
    holdfast_test: Harness, document: Document, size: int
) -> None:
    ada = Peer("ada")
    async with online(document, ada):
        for _ in range(ROWS_MAX + 50):
            ada.text += "x" * size
            await ada.flush()

    facts = await document.facts()
    assert facts.updates == ROWS_MAX + 50
    assert 0 < facts.rows < ROWS_MAX
    assert facts.stored_bytes < size * (ROWS_MAX + 50) + 50 * facts.rows + 1000
    await holdfast_test.crash()
    assert await document.text() == "x" * size * (ROWS_MAX + 50)


async def test_a_snapshot_of_many_values_shrinks_to_one(
    holdfast_test: Harness, document: Document
) -> None:
    ada = Peer("ada")
    async with online(document, ada):
        ada.text += "x" * (UPDATE_BYTES_MAX - 1000)
        await ada.flush()
        assert (await document.facts()).stored_bytes > 128 << 10
        del ada.text[:]
        for _ in range(ROWS_MAX + 1):
            ada.text += "y"
            await ada.flush()

    assert (await document.facts()).stored_bytes < 1000
    await holdfast_test.crash()
    assert await document.text() == "y" * (ROWS_MAX + 1)


async def test_everybody_sees_who_is_here_and_where(document: Document) -> None:
    ada, grace = Peer("ada"), Peer("grace")
    async with online(document, ada):
        await ada.move({"anchor": 1, "head": 2})
        async with online(document, grace):
            assert seen_by(grace) == {"ada": {"anchor": 1, "head": 2}}
            while seen_by(ada) != {"grace": END}:
                await ada.receive()
            assert (await document.facts()).editors == ["ada", "grace"]
            grace.name = "grace hopper"
            await grace.move(None)
            while seen_by(ada) != {"grace hopper": None}:
                await ada.receive()
        while ada.others:
            await ada.receive()
        # Fetching is not being here.
        await document.fetch("/text")
        assert (await document.facts()).editors == ["ada"]


def seen_by(peer: Peer) -> dict[str, Any]:
    """The cursors that a peer shows, by name."""
    return {other["name"]: other["cursor"] for other in peer.others.values()}


async def test_who_is_refused_is_gone(document: Document) -> None:
    ada, mallory = Peer("ada"), Peer("mallory")
    async with online(document, ada), document.websocket() as websocket:
        await mallory.connect(websocket)
        while not ada.others:
            await ada.receive()
        await websocket.send(b"nonsense")
        while ada.others:
            await ada.receive()


async def test_editors_notice_nothing_of_an_actor_that_sleeps(
    holdfast_test: Harness, document: Document
) -> None:
    ada, grace, edsger = Peer("ada"), Peer("grace"), Peer("edsger")
    async with online(document, ada, grace):
        ada.text += "before"
        await ada.flush()
        await until_text(grace, "before")

        await holdfast_test.advance(hours=1)

        async with online(document, edsger):
            # Its memory was gone, the cursors with it.
            assert seen_by(edsger) == {"ada": None, "grace": None}
            grace.text += " and after"
            await grace.flush()
            for peer in (ada, edsger):
                await until_text(peer, "before and after")
            await ada.move({"anchor": 1, "head": 1})
            while seen_by(edsger)["ada"] is None:
                await edsger.receive()
        await holdfast_test.advance(hours=1)
    assert (await document.facts()).editors == []


async def test_the_text_is_there_for_everybody_who_asks(document: Document) -> None:
    ada = Peer("ada")
    async with online(document, ada):
        ada.text += "Grüße"
        await ada.flush()

    answer = await document.fetch("/text")
    assert (answer.status, await answer.text()) == (200, "Grüße")
    assert (await document.fetch("/nowhere")).status == 404
    assert (await document.fetch("/text", method="PUT", body="x")).status == 405
