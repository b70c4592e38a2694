"""What a target refuses until its tries are used up waits for somebody to decide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast.v1 import dead_letter_service_pb2 as pb
from holdfast.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from holdfast_server.app import Server
from tests.server.conftest import Start


@dataclass
class Heard:
    refuses: bool = False
    texts: list[str] = field(default_factory=list)


class Ear(Actor[Heard]):
    state = Heard

    @action
    async def close(self, c: Context[Heard], closed: bool) -> None:
        c.state.refuses = closed

    @action
    async def hear(self, c: Context[Heard], text: str) -> None:
        if c.state.refuses:
            raise UserError("not now", code="closed")
        c.state.texts.append(text)

    @action(read_only=True)
    def texts(self, c: Context[Heard]) -> list[str]:
        return c.state.texts


class Mouth(Actor):
    @action
    async def say(self, c: Context, ear: str, *texts: str) -> None:
        for text in texts:
            c.send(Ear, [ear], "hear", text)


registry = setup(use={"ear": Ear, "mouth": Mouth})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, outbox_attempts_max=2, outbox_backoff_s=0.001)


@pytest.fixture
async def letters(running: tuple[Server, Client]) -> AsyncIterator[DeadLetterServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running[0].port}") as channel:
        yield DeadLetterServiceStub(channel)


async def dead(letters: DeadLetterServiceStub, count: int) -> list[pb.DeadLetter]:
    """The dead letters, once there are `count` of them."""
    while True:
        page = await letters.ListDeadLetters(pb.ListDeadLettersRequest())
        if len(page.dead_letters) >= count:
            return list(page.dead_letters)


async def texts(client: Client, ear: str, count: int) -> list[str]:
    while len(found := await client.get_or_create(Ear, [ear]).texts()) < count:
        pass
    return found


async def test_a_refused_send_is_dead_lettered_and_holds_up_no_other_target(
    running: tuple[Server, Client], letters: DeadLetterServiceStub
) -> None:
    client = running[1]
    await client.get_or_create(Ear, ["shut"]).close(True)
    mouth = client.get_or_create(Mouth, ["m"])

    await mouth.say("shut", "one")
    await mouth.say("open", "two")

    assert await texts(client, "open", 1) == ["two"]
    (letter,) = await dead(letters, 1)
    assert (letter.sender.name, list(letter.sender.key)) == ("mouth", ["m"])
    assert (letter.target.name, list(letter.target.key)) == ("ear", ["shut"])
    assert (letter.action, letter.attempts) == ("hear", 2)
    assert letter.last_error == "user.closed: not now"


async def test_a_dead_letter_is_sent_again_behind_what_came_since(
    running: tuple[Server, Client], letters: DeadLetterServiceStub
) -> None:
    client = running[1]
    ear, mouth = client.get_or_create(Ear, ["e"]), client.get_or_create(Mouth, ["m"])
    await ear.close(True)
    await mouth.say("e", "one")
    (letter,) = await dead(letters, 1)
    await ear.close(False)
    await mouth.say("e", "two")
    assert await texts(client, "e", 1) == ["two"]

    request = pb.RetryDeadLetterRequest(dead_letter_id=letter.dead_letter_id)
    await letters.RetryDeadLetter(request)

    assert await texts(client, "e", 2) == ["two", "one"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await letters.RetryDeadLetter(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_discarded_letter_is_gone(
    running: tuple[Server, Client], letters: DeadLetterServiceStub
) -> None:
    client = running[1]
    await client.get_or_create(Ear, ["e"]).close(True)
    await client.get_or_create(Mouth, ["m"]).say("e", "one", "two", "three")
    first, second, third = await dead(letters, 3)

    request = pb.DiscardDeadLetterRequest(dead_letter_id=second.dead_letter_id)
    await letters.DiscardDeadLetter(request)

    left = [letter.dead_letter_id for letter in await dead(letters, 2)]
    assert left == [first.dead_letter_id, third.dead_letter_id]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await letters.DiscardDeadLetter(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_dead_letters_are_listed_by_page(
    running: tuple[Server, Client], letters: DeadLetterServiceStub
) -> None:
    client = running[1]
    await client.get_or_create(Ear, ["e"]).close(True)
    await client.get_or_create(Mouth, ["m"]).say("e", "one", "two", "three")
    every = [letter.dead_letter_id for letter in await dead(letters, 3)]

    found, token = [], ""
    while True:
        page = await letters.ListDeadLetters(
            pb.ListDeadLettersRequest(page_size=2, page_token=token)
        )
        found += [letter.dead_letter_id for letter in page.dead_letters]
        token = page.next_page_token
        if not token:
            break

    assert found == every


@pytest.mark.parametrize("dead_letter_id", ["", "!", "aaaaaaaa"])
async def test_an_unknown_id_is_refused(
    letters: DeadLetterServiceStub, dead_letter_id: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await letters.RetryDeadLetter(pb.RetryDeadLetterRequest(dead_letter_id=dead_letter_id))

    assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
