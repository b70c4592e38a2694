"""Tokens that expire: renewed by the client, given by a function, and what holds meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from holdfast import ActorError, Client, HoldfastError, blocking
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.memory import MemoryStore
from tests.server.cutting import proxied
from tests.server.live_actors import Salon, registry
from tests.server.probe import sessions_of, until


class Issuer:
    """A server, and the file of the tokens that it accepts."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self.address = f"127.0.0.1:{server.port}"
        self._file = file

    def accept(self, *tokens: str) -> None:
        """Accept these and no others, all of them ada's unless they begin with bob's name."""
        self._file.write_text(lines_of(tokens))
        self.server.security.reload()


def lines_of(tokens: Iterable[str]) -> str:
    """The file of these tokens."""
    return "".join(f"{'bob' if token.startswith('bob') else 'ada'} {token}\n" for token in tokens)


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    file = tmp_path / "tokens"
    file.write_text(lines_of(["first", "second"]))
    flags: dict[str, Any] = {
        "data": str(tmp_path / "data"),
        "grpc": "127.0.0.1:0",
        "drain_timeout_s": 0.2,
    }
    server = Server(registry, load({}, token_file=str(file), **flags), MemoryStore())
    await server.start()
    yield Issuer(server, file)
    await server.stop()


async def refusal(call: Any) -> ActorError:
    """What a call is refused with."""
    with pytest.raises(ActorError) as caught:
        await call
    return caught.value


async def test_a_renewed_token_holds_for_what_is_open_and_for_what_comes(issuer: Issuer) -> None:
    async with (
        proxied(issuer.address) as proxy,
        Client(proxy.address, token="first") as client,
        Client(proxy.address, token="first", session=False) as plain,
    ):
        salon = client.get_or_create(Salon, ["a"])
        said: list[str] = []
        connection = salon.connect({"name": "ada"})
        connection.on_status_change(said.append)
        async with connection as conn:
            events = conn.events("line")
            beside = plain.get_or_create(Salon, ["a"]).events("line", from_sequence=1)
            assert await conn.say("one") == 1
            (session,) = sessions_of(issuer.server)
            for each in (client, plain):
                each.renew_token("second")
            assert await conn.say("two") == 2
            issuer.accept("second")
            # In the stream: it is the same session, and nothing in it has noticed.
            assert await conn.say("three") == 3
            assert sessions_of(issuer.server) == [session]
            assert said == ["connecting", "connected"]
            # Unary calls, in both clients.
            assert await client.get(Salon, ["a"]).resolve() == connection.actor_id
            assert await plain.get(Salon, ["a"]).lines() == ["+ada", "one", "two", "three"]
            # New sessions, and new subscriptions beside one.
            proxy.cut()
            assert await conn.say("four") == 4
            for source in (events, beside):
                found = [(await anext(source)).args[0].text for _ in range(4)]
                assert found == ["one", "two", "three", "four"]
        assert said == ["connecting", "connected", "disconnected", "connected", "closed"]


async def test_a_function_is_asked_when_a_token_has_expired(issuer: Issuer) -> None:
    current = "first"
    asked: list[str] = []

    async def token() -> str:
        await asyncio.sleep(0)
        asked.append(current)
        return current

    async with (
        Client(issuer.address, token=token) as client,
        Client(issuer.address, token=lambda: current, session=False) as plain,
    ):
        salon = client.get_or_create(Salon, ["a"])
        connection = salon.connect({"name": "ada"})
        async with connection as conn:
            assert await conn.say("one") == 1
            assert await plain.get(Salon, ["a"]).lines() == ["+ada", "one"]
            first = connection.connection_id
            before = len(asked)
            current = "third"
            issuer.accept("third")
            # The server ends the session; calls go on in the next one, under their keys.
            assert sorted(await asyncio.gather(*(conn.say(str(n)) for n in range(5)))) == [
                *range(2, 7)
            ]
            assert connection.connection_id == first
            assert len(asked) > before
            assert (await plain.get(Salon, ["a"]).lines())[:2] == ["+ada", "one"]
            # An RPC that finds another token tells it to the session.
            (session,) = sessions_of(issuer.server)
            current = "fourth"
            issuer.accept("third", "fourth")
            assert await client.get(Salon, ["a"]).resolve()
            await until(lambda: session.credential.token == "fourth")
            issuer.accept("fourth")
            assert await conn.say("last") == 7
            assert sessions_of(issuer.server) == [session]
        assert (await salon.lines())[-1] == "-ada"


def expired_once() -> Callable[[], str]:
    """A function that gives a token that has expired, and then one that has not."""
    given = iter(["expired"])
    return lambda: next(given, "first")


@pytest.mark.parametrize("session", [True, False])
async def test_a_token_refused_at_first_may_be_replaced(issuer: Issuer, session: bool) -> None:
    async with Client(issuer.address, token=expired_once(), session=session) as client:
        assert await client.get_or_create(Salon, ["a"]).lines() == []
    async with Client(issuer.address, token=expired_once(), session=session) as client:
        events = client.get_or_create(Salon, ["a"]).events("x", from_sequence=1)
        reading = asyncio.ensure_future(anext(events))
        async with Client(issuer.address, token="first") as other:
            await other.get_or_create(Salon, ["a"]).emit("x", 1)
        assert (await reading).args == (1,)


@pytest.mark.parametrize("session", [True, False])
async def test_without_another_token_calls_are_refused(issuer: Issuer, session: bool) -> None:
    for source in ("wrong", None, lambda: "wrong", lambda: None):
        async with Client(issuer.address, token=source, session=session) as client:
            salon = client.get_or_create(Salon, ["a"])
            error = await refusal(salon.lines())
            assert (error.group, error.code) == ("auth", "unauthenticated")
            assert error.status == "UNAUTHENTICATED"
            assert (await refusal(client.create(Salon, ["b"]))).code == "unauthenticated"
            assert (await refusal(anext(salon.events()))).code == "unauthenticated"


async def test_a_token_that_expires_and_is_not_replaced_ends_a_connection(issuer: Issuer) -> None:
    async with Client(issuer.address, token="first") as client:
        errors: list[Exception] = []
        connection = client.get_or_create(Salon, ["a"]).connect({"name": "ada"})
        connection.on_error(errors.append)
        async with connection as conn:
            events = conn.events("line")
            await conn.say("one")
            assert (await anext(events)).args[0].text == "one"
            issuer.accept("second")
            assert (await refusal(anext(events))).code == "unauthenticated"
            assert connection.status == "closed"
            assert (await refusal(conn.say("two"))).code == "unauthenticated"
        assert [getattr(error, "code", "") for error in errors] == ["unauthenticated"]
        # A new token makes the client usable again.
        client.renew_token("second")
        assert await client.get(Salon, ["a"]).lines() == ["+ada", "one"]


async def test_the_token_of_another_caller_has_no_claim_to_what_was_open(issuer: Issuer) -> None:
    issuer.accept("first", "bobs")
    async with Client(issuer.address, token="first") as client:
        connection = client.get_or_create(Salon, ["a"]).connect({"name": "ada"})
        async with connection as conn:
            await conn.say("one")
            first = connection.connection_id
            client.renew_token("bobs")
            # The session of one caller is not the other's: a new one, and a new connection.
            await until(lambda: connection.connection_id != first)
            assert await conn.say("two") == 1


@pytest.mark.parametrize("session", [True, False])
async def test_a_function_that_fails_is_asked_again(issuer: Issuer, session: bool) -> None:
    failures = 3

    def token() -> str:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("the issuer is away")
        return "first"

    async with Client(issuer.address, token=token, session=session) as client:
        salon = client.get_or_create(Salon, ["a"])
        assert await salon.lines() == []
        assert failures == 0
        failures = 10**6
        error = await refusal(client.create(Salon, ["b"], timeout=0.2))
        assert (error.code, error.retryable) == ("unavailable", True)
        assert "no token: OSError: the issuer is away" in error.message


async def test_what_is_no_token_is_refused() -> None:
    wrong: Any
    for wrong in (b"bytes", 3):
        with pytest.raises(TypeError, match="a token is a string, or a function"):
            Client("127.0.0.1:1", token=wrong)
    with pytest.raises(ValueError, match="printable ASCII"):
        Client("127.0.0.1:1", token="tokén")
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="printable ASCII"):
            client.renew_token("a\nb")
        for wrong, text in ((3, "gave int"), ("a\nb", "printable ASCII")):
            client.renew_token(lambda wrong=wrong: wrong)
            with pytest.raises(HoldfastError, match=text):
                await client.get(Salon, ["a"]).lines()
            with pytest.raises(HoldfastError, match=text):
                await client.create(Salon, ["a"])
            with pytest.raises(HoldfastError, match=text):
                await anext(client.get(Salon, ["a"]).events())


async def test_the_blocking_client_renews_too(issuer: Issuer) -> None:
    def body() -> None:
        with blocking.Client(issuer.address, token="first") as client:
            salon = client.get_or_create(Salon, ["a"])
            with salon.connect({"name": "ada"}) as conn:
                assert conn.say("one") == 1
                client.renew_token("second")
                assert conn.say("two") == 2
                asyncio.run_coroutine_threadsafe(accept(), loop).result()
                assert conn.say("three") == 3
                client.renew_token(lambda: "second")
                assert salon.call(Salon.lines) == ["+ada", "one", "two", "three"]

    async def accept() -> None:
        issuer.accept("second")

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(body)
