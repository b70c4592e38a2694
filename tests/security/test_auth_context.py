"""`c.auth`: what an actor's code is told of whoever called, on every way into the server."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from holdfast import ActorError, Client, TlsConfig
from holdfast.v1 import actor_service_pb2 as pb
from holdfast_server.config import load
from holdfast_server.server import Server
from holdfast_server.store.memory import MemoryStore
from tests.gateway.browser import Browser, get_or_create
from tests.gateway.rpcs import Rpcs
from tests.security.actors import Host, Witness, registry
from tests.security.conftest import Place
from tests.server.test_security import SERVER_TLS, TLS
from tests.server.wire import as_json, target

CALLER = ["token", "caller", "call", None]
ADA = ["jwt", "ada", "call", ["default"]]


async def test_every_front_tells_the_actor_who_called(
    place: Place, session: aiohttp.ClientSession
) -> None:
    address, jwt = f"127.0.0.1:{place.server.port}", place.sign()
    browser, rpcs = Browser(session, place.server), Rpcs(session, place.server)
    for token, expected in (("caller-token", CALLER), (jwt, ADA)):
        for sessions in (True, False):
            async with Client(address, token=token, session=sessions, timeout=10) as client:
                witness = client.get_or_create(Witness, ["a"])
                assert await witness.who() == expected
                assert [item async for item in witness.stream()] == [expected, expected]
                if sessions:
                    async with client.get_or_create(Host, ["a"]).connect() as conn:
                        assert await conn.who() == expected
        shown = {"authorization": f"Bearer {token}"}
        assert await browser.result("witness", "a", "who", headers=shown) == expected
        request = pb.InvokeActionRequest(
            target=target("witness", "a"), action="who", args=as_json([])
        )
        assert await rpcs.result(request, **shown) == expected
        talk = await browser.talk("host", "a", headers=shown)
        assert await talk.result(1, "who") == expected
        assert (await talk.result(2, "seen"))["on_connect"] == expected
        await talk.leave()
        answer = await browser.get(f"/gateway/host/request/x?{get_or_create('a')}", headers=shown)
        assert json.loads(answer.body) == expected
        url = f"{rpcs.url}/gateway/host/websocket/?{get_or_create('a')}"
        async with session.ws_connect(url, headers=shown) as raw:
            assert await raw.receive_str() == str(expected)
            await raw.send_str("and in the next turn?")
            assert await raw.receive_str() == str(expected)


async def test_what_no_caller_asked_for_has_none(place: Place) -> None:
    async with Client(f"127.0.0.1:{place.server.port}", token="caller-token", timeout=10) as client:
        witness = client.get_or_create(Witness, ["a"])
        await witness.tell_later()

        async def all_told() -> bool:
            return {"timer", "send"} <= set(await witness.seen())

        while not await all_told():
            pass
        seen = await witness.seen()
        assert (seen["timer"], seen["send"]) == (None, None)
        assert seen["on_create"] == CALLER
        # A turn that the call's own code opens beside it is still the call's.
        assert seen.get("turn", CALLER) == CALLER


async def test_an_actor_that_calls_another_lends_it_nobody(place: Place) -> None:
    async with Client(f"127.0.0.1:{place.server.port}", token="caller-token", timeout=10) as client:
        assert await client.get_or_create(Witness, ["a"]).ask("b") is None


async def test_claims_can_be_read_and_not_changed(place: Place) -> None:
    async with Client(f"127.0.0.1:{place.server.port}", token=place.sign(), timeout=10) as client:
        witness = client.get_or_create(Witness, ["a"])
        assert await witness.claims() == {"iss": "https://issuer.example", "sub": "ada"}


async def test_can_subscribe_knows_who_asks(place: Place) -> None:
    place.accept("mallory mallory-token\nada ada-token")
    address = f"127.0.0.1:{place.server.port}"
    for sessions in (True, False):
        async with (
            Client(address, token="ada-token", session=sessions, timeout=10) as ada,
            Client(address, token="mallory-token", session=sessions, timeout=10) as mallory,
        ):
            assert await ada.get_or_create(Witness, ["a"]).who()
            await ada.get(Witness, ["a"]).say("x", "guarded")
            async with aclosing(ada.get(Witness, ["a"]).events("guarded", from_sequence=1)) as said:
                assert await anext(said)
            with pytest.raises(ActorError) as caught:
                await anext(mallory.get(Witness, ["a"]).events("guarded"))
            assert caught.value.code == "subscription_forbidden"


async def serve(path: Path, **settings: Any) -> Server:
    flags = {"data": str(path), "grpc": "127.0.0.1:0", "admin": "off", **settings}
    server = Server(registry, load({}, **flags), MemoryStore())
    await server.start()
    return server


async def test_without_checks_everybody_is_nobody(tmp_path: Path) -> None:
    server = await serve(tmp_path)
    try:
        async with Client(f"127.0.0.1:{server.port}", token="any", timeout=10) as client:
            who = await client.get_or_create(Witness, ["a"]).who()
            assert who == ["none", None, "admin", None]
    finally:
        await server.stop()


async def test_a_certificate_names_its_caller(tmp_path: Path) -> None:
    server = await serve(tmp_path, **SERVER_TLS, tls_client_ca=TLS / "ca.pem")
    tls = TlsConfig(ca=TLS / "ca.pem", certificate=TLS / "ada.pem", key=TLS / "ada.key")
    try:
        async with Client(f"127.0.0.1:{server.port}", tls=tls, timeout=10) as client:
            source, caller, role, namespaces = await client.get_or_create(Witness, ["a"]).who()
            assert (source, role, namespaces) == ("certificate", "admin", None)
            assert "ada" in caller
    finally:
        await server.stop()
