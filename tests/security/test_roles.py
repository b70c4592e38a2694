"""Everything that can be asked of a server has a role in one table, and is held to it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_channelz.v1 import channelz_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection_pb2  # noqa: F401

from holdfast import ActorError, Client
from holdfast.v1 import (
    actor_service_pb2,
    admin_service_pb2,
    dead_letter_service_pb2,
    event_service_pb2,
    kv_service_pb2,
    schedule_service_pb2,
)
from holdfast_server.core.auth import Role
from holdfast_server.core.roles import ENDPOINTS, RPCS, role_of_endpoint, role_of_rpc
from holdfast_server.gateway import endpoints
from holdfast_server.rpc import listener
from tests.gateway.browser import Browser, get_or_create
from tests.gateway.rpcs import encoded, enveloped
from tests.security.actors import Witness
from tests.security.conftest import Place
from tests.server.outcomes import wire_refusal
from tests.server.session import call, connect, end_of, opened, subscribe, value_of
from tests.server.wire import as_json, target

ALL = [
    *listener.SERVICES,
    "holdfast.v1.AdminService",
    "grpc.channelz.v1.Channelz",
    "grpc.reflection.v1alpha.ServerReflection",
]
PROTOS = (
    actor_service_pb2,
    admin_service_pb2,
    dead_letter_service_pb2,
    event_service_pb2,
    kv_service_pb2,
    schedule_service_pb2,
)
TOKEN_OF = {Role.READ: "reader-token", Role.CALL: "caller-token", Role.ADMIN: "root-token"}


def methods() -> dict[str, Any]:
    pool = descriptor_pool.Default()
    return {
        f"/{name}/{method.name}": method
        for name in ALL
        for method in pool.FindServiceByName(name).methods
    }


def test_every_rpc_is_in_the_table_and_nothing_else_is() -> None:
    assert set(RPCS) == set(methods())


def test_every_operation_of_the_gateway_is_in_the_table() -> None:
    asked = {each.operation for each in endpoints.ALL if each.guarded}
    assert asked | {"connect", "websocket", "metrics"} == set(ENDPOINTS)


def test_what_nobody_decided_needs_an_admin() -> None:
    assert role_of_rpc("/holdfast.v1.New/Rpc") is role_of_endpoint("new") is Role.ADMIN


async def answer_of(channel: grpc.aio.Channel, path: str, token: str) -> Any:
    """What a unary or server-streaming RPC with an empty request comes to."""
    metadata = (("authorization", f"Bearer {token}"),)
    stream = channel.unary_stream(path)(b"", metadata=metadata, timeout=5)
    try:
        async for _ in stream:
            return None
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_each_rpc_wants_its_role_and_says_which(place: Place) -> None:
    ports = {"holdfast.v1.AdminService": place.server.admin_port}
    ports["grpc.channelz.v1.Channelz"] = place.server.admin_port
    for path, needed in RPCS.items():
        service = path.split("/")[1]
        address = f"127.0.0.1:{ports.get(service, place.server.port)}"
        async with grpc.aio.insecure_channel(address) as channel:
            for role, token in TOKEN_OF.items():
                if methods()[path].client_streaming and role >= needed:
                    # It would wait for what it is told.
                    continue
                error = await answer_of(channel, path, token)
                refused = error is not None and error.code() is grpc.StatusCode.PERMISSION_DENIED
                assert refused is (role < needed), (path, role, error)
                if refused:
                    assert f"needs the role {needed.word}" in error.details()
                    assert token not in str(error)


async def test_a_reader_reads_and_makes_nothing(place: Place) -> None:
    address = f"127.0.0.1:{place.server.port}"
    async with Client(address, token="reader-token", session=False, timeout=10) as reader:
        async with Client(address, token="caller-token", timeout=10) as caller:
            await caller.get_or_create(Witness, ["a"]).say("x")
        async with grpc.aio.insecure_channel(address) as channel:
            metadata = (("authorization", "Bearer reader-token"),)
            stub = event_service_pb2
            ask = channel.unary_stream(
                "/holdfast.v1.EventService/SubscribeEvents",
                request_serializer=stub.SubscribeEventsRequest.SerializeToString,
            )
            makes = stub.SubscribeEventsRequest(target=target("witness", "new"))
            found = await wire_refusal(anext(aiter(ask(makes, metadata=metadata))))
            assert (found.reason, found.metadata["needs"]) == ("FORBIDDEN", "call")
            reads = stub.SubscribeEventsRequest(target=target("witness", "a", create=False))
            assert await anext(aiter(ask(reads, metadata=metadata)))
        with pytest.raises(ActorError) as caught:
            await reader.get_or_create(Witness, ["a"]).who()
        assert (caught.value.group, caught.value.code) == ("auth", "forbidden")


async def test_commands_of_a_session_want_their_role(place: Place) -> None:
    async with opened(place.server, token="caller-token") as session:
        session.send(call(1, target("witness", "a"), "who"))
        assert value_of(await session.answer(1)) == ["token", "caller", "call", None]
    async with opened(place.server, token="reader-token") as session:
        session.send(call(1, target("witness", "a"), "who"))
        session.send(connect(3, target("witness", "a")))
        session.send(subscribe(5, target("witness", "new")))
        for stream in (1, 3, 5):
            refusal = end_of(await session.answer(stream))
            assert (refusal.status, refusal.metadata["needs"]) == ("PERMISSION_DENIED", "call")
        session.send(subscribe(7, target("witness", "a", create=False)))
        assert (await session.answer(7)).WhichOneof("answer") == "subscribed"


async def test_the_gateway_wants_the_same(place: Place, session: aiohttp.ClientSession) -> None:
    browser = Browser(session, place.server)
    act = f"/gateway/witness/action/who?{get_or_create('a')}"
    asks = [
        ("GET", "/actors?name=witness", Role.READ, ""),
        ("GET", "/actors/names", Role.READ, ""),
        ("PUT", "/actors", Role.CALL, json.dumps({"name": "witness", "key": "b"})),
        ("POST", act, Role.CALL, '{"args":[]}'),
        ("GET", f"/gateway/host/request/x?{get_or_create('a')}", Role.CALL, ""),
        ("DELETE", "/actors/x", Role.CALL, ""),
    ]
    for method, path, needed, body in asks:
        for role, token in TOKEN_OF.items():
            shown = {"authorization": f"Bearer {token}"}
            answer = await browser.ask(method, path, data=body or None, headers=shown)
            assert (answer.status == 403) is (role < needed), (path, role, answer.status)
            if answer.status == 403:
                assert answer.error == "auth.forbidden"
                assert token.encode() not in answer.body
    talk = await browser.connect("witness", "a", headers={"authorization": "Bearer reader-token"})
    assert (await talk.receive())["Error"]["code"] == "forbidden"
    assert await talk.closed() == (1011, "auth.forbidden")
    for path in ("InvokeAction", "StreamAction"):
        answer = await browser.ask(
            "POST",
            f"/holdfast.v1.ActorService/{path}",
            data="{}",
            headers={"authorization": "Bearer reader-token", "content-type": "application/json"},
        )
        assert answer.status in (403, 415)


# Namespaces


async def test_a_caller_of_a_namespace_is_refused_all_others(
    place: Place, session: aiohttp.ClientSession
) -> None:
    address = f"127.0.0.1:{place.server.port}"
    async with Client(address, namespace="b", token="root-token", timeout=10) as root:
        foreign = await root.get_or_create(Witness, ["x"]).resolve()
    for namespace in ("default", "b", "no-such"):
        for sessions in (True, False):
            async with Client(
                address, namespace=namespace, token="a-token", session=sessions, timeout=10
            ) as client:
                with pytest.raises(ActorError) as caught:
                    await client.get_or_create(Witness, ["x"]).who()
                assert (caught.value.code, caught.value.metadata) == (
                    "forbidden",
                    {"namespace": namespace},
                ), sessions
                with pytest.raises(ActorError, match="may not use the namespace"):
                    _ = [each async for each in client.get_or_create(Witness, ["x"]).stream()]
    async with Client(address, namespace="a", token="a-token", timeout=10) as client:
        assert await client.get_or_create(Witness, ["x"]).who() == [
            "token",
            "a-only",
            "call",
            ["a"],
        ]
    browser, shown = Browser(session, place.server), {"authorization": "Bearer a-token"}
    in_a = get_or_create("x").replace("rvt-namespace=default", "rvt-namespace=a")
    assert "rvt-namespace=a" in in_a
    assert (
        await browser.ask(
            "POST", f"/gateway/witness/action/who?{in_a}", data='{"args":[]}', headers=shown
        )
    ).status == 200
    for path in (
        f"/gateway/witness/action/who?{get_or_create('x')}",
        f"/gateway/{foreign}/action/who",
    ):
        answer = await browser.ask("POST", path, data='{"args":[]}', headers=shown)
        assert answer.status in (403, 404), path
    for path in ("/actors?name=witness", "/actors/names", f"/actors?actor_ids={foreign}"):
        assert (await browser.get(path, headers=shown)).status == 403
    assert (await browser.get("/actors?name=witness&namespace=a", headers=shown)).status == 200
    talk = await browser.connect(path=f"/gateway/{foreign}/connect", headers=shown)
    code, reason = await talk.closed()
    assert (code, reason.partition("#")[0]) == (1011, "actor.not_found")


async def test_an_admin_of_one_namespace_does_not_see_all_connections(place: Place) -> None:
    address = f"127.0.0.1:{place.server.admin_port}"
    async with grpc.aio.insecure_channel(address) as channel:
        path = "/grpc.channelz.v1.Channelz/GetServers"
        error = await answer_of(channel, path, "a-admin-token")
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await answer_of(channel, path, "root-token") is None


# Tokens that end


async def test_what_is_open_ends_when_its_token_is_withdrawn_or_narrowed(
    place: Place, session: aiohttp.ClientSession
) -> None:
    address, browser = f"127.0.0.1:{place.server.port}", Browser(session, place.server)
    shown = {"authorization": "Bearer caller-token"}

    async def streamed(client: Client) -> Any:
        try:
            async for _ in client.get_or_create(Witness, ["a"]).stream(True):
                begun.release()
        except ActorError as error:
            return error.code

    begun = asyncio.Semaphore(0)
    for text, code in (
        ("root root-token", "unauthenticated"),
        ("caller caller-token role=read", "forbidden"),
        ("caller caller-token role=call namespaces=b", "forbidden"),
        ("mallory caller-token", "unauthenticated"),
    ):
        async with Client(address, token="caller-token", session=False, timeout=30) as client:
            running = asyncio.create_task(streamed(client))
            for _ in range(2):
                await begun.acquire()
            talk = await browser.connect("host", "a", headers=shown)
            assert "Init" in await talk.receive()
            raw = await session.ws_connect(
                f"http://127.0.0.1:{place.server.http_port}/gateway/host/websocket/?{get_or_create('a')}",
                headers=shown,
            )
            await raw.receive()
            place.accept(text)
            assert await running == code
            assert await talk.closed() == (1011, f"auth.{code}")
            assert (await raw.receive()).type is aiohttp.WSMsgType.CLOSE
            await raw.close()
        place.accept("caller caller-token role=call")


async def test_a_session_ends_when_its_token_is_withdrawn(place: Place) -> None:
    async with opened(place.server, token="caller-token") as session:
        place.accept("caller other-token")
        assert (await session.failure()).status == "UNAUTHENTICATED"
    async with opened(place.server, token="other-token") as session:
        place.accept("caller other-token role=read")
        session.send(call(1, target("witness", "a"), "who"))
        assert end_of(await session.answer(1)).reason == "FORBIDDEN"
        place.accept("caller other-token namespaces=b")
        assert (await session.failure()).status == "PERMISSION_DENIED"


async def test_an_expired_token_is_no_token(place: Place) -> None:
    async with Client(
        f"127.0.0.1:{place.server.port}", token="old-token", session=False, timeout=10
    ) as client:
        with pytest.raises(ActorError, match="unauthenticated"):
            await client.get_or_create(Witness, ["a"]).who()


@pytest.mark.parametrize("twice", ["root-token", "wrong"])
async def test_two_headers_are_no_token(
    place: Place, session: aiohttp.ClientSession, twice: str
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.server.port}") as channel:
        metadata = (("authorization", "Bearer root-token"), ("authorization", f"Bearer {twice}"))
        ask = channel.unary_unary("/holdfast.v1.ActorService/DescribeActors")
        assert (await wire_refusal(ask(b"", metadata=metadata))).status == "UNAUTHENTICATED"
    browser = Browser(session, place.server)
    headers = [("authorization", "Bearer root-token"), ("authorization", f"Bearer {twice}")]
    assert (await browser.get("/actors/names", headers=headers)).status == 401
    answer = await browser.ask(
        "POST",
        "/holdfast.v1.ActorService/DescribeActors",
        data="{}",
        headers=[*headers, ("content-type", "application/json")],
    )
    assert answer.status == 401


async def test_a_stream_of_the_connect_protocol_ends_with_its_token_too(
    place: Place, session: aiohttp.ClientSession
) -> None:
    request = actor_service_pb2.StreamActionRequest(
        target=target("witness", "a"), action="stream", args=as_json([True])
    )
    async with session.post(
        f"http://127.0.0.1:{place.server.http_port}/holdfast.v1.ActorService/StreamAction",
        data=enveloped(encoded("json", request)),
        headers={
            "content-type": "application/connect+json",
            "authorization": "Bearer caller-token",
        },
    ) as response:
        assert response.status == 200
        await response.content.readexactly(1)
        place.accept("root root-token")
        assert b'"unauthenticated"' in await response.content.read()
