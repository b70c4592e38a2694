"""What the Connect protocol's front refuses, and whom."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from holdfast.v1 import actor_service_pb2 as pb
from holdfast_server.addresses import HostPort, bind
from holdfast_server.config import load
from holdfast_server.gateway.gateway import Gateway
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request
from tests.gateway.rpc_actors import registry
from tests.gateway.rpcs import ACTORS, Rpcs, encoded, enveloped, invoke, stream_of, told
from tests.server.stage import Stage
from tests.server.wire import Wire

INVOKE, STREAM = f"{ACTORS}/InvokeAction", f"{ACTORS}/StreamAction"
JSON, PROTO = "application/json", "application/proto"
INVALID = ("invalid_argument", "REQUEST_INVALID")
TOO_LONG = ("invalid_argument", "MESSAGE_INCOMING_TOO_LONG")
TLS = Path(__file__).resolve().parents[1] / "server" / "tls"
MIB = 1 << 20


@pytest.fixture
async def rpcs(start: Start, session: aiohttp.ClientSession) -> Rpcs:
    return Rpcs(session, await start(registry))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff", b"{}{}", b'{"action":1}',
     b'{"acton":"add"}', b'{"args":{"data":"!"}}', b'{"args":{"data":"[2]"}}',
     b'{"args":{"data":"WzJdW"}}', b'{"args":{"data":5}}', b'{"args":"WzJd"}',
     b'{"args":[]}', b'{"target":{"get":[]}}',
     b'{"clientSequence":{"number":"18446744073709551616"}}', b'{"action":"\\ud800"}',
     b'{"target":{"getOrCreate":{"key":"a"}}}', b'{"acceptEncoding":"NOPE"}',
     b'{"action":"a","action":"b"}', b'{"clientSequence":{"number":NaN}}',
     b'{"target":{"actorId":"a","get":{}}}', b"[" * 100_000, b'{"args":' * 50_000],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
async def test_a_body_that_is_not_the_message_is_refused(rpcs: Rpcs, body: bytes) -> None:
    answer = await rpcs.post(INVOKE, body, JSON)

    assert answer.status == 400
    error = told(answer.json)
    assert error[:2] == INVALID
    assert error.metadata["field"] == "body"


async def test_a_broken_message_in_binary_is_refused(rpcs: Rpcs) -> None:
    for body in (b"\xff\xff", encoded("proto", invoke("add"))[:-1], b'{"action":"add"}'):
        answer = await rpcs.post(INVOKE, body, PROTO)
        assert (answer.status, told(answer.json)[:2]) == (400, INVALID)


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1",
     "application/connect+json", "application/grpc", "application/", "json", "application/jsonx"],
)  # fmt: skip
async def test_another_content_type_is_unsupported(rpcs: Rpcs, kind: str) -> None:
    answer = await rpcs.post(INVOKE, b"{}", kind)

    assert (answer.status, answer.headers["accept-post"]) == (415, f"{JSON}, {PROTO}")
    assert answer.headers["content-type"] == JSON
    assert told(answer.json)[:2] == INVALID


@pytest.mark.parametrize("kind", [JSON, PROTO, "application/connect+xml", ""])
async def test_a_stream_takes_envelopes_only(rpcs: Rpcs, kind: str) -> None:
    answer = await rpcs.post(STREAM, b"{}", kind)

    assert answer.status == 415
    assert answer.headers["accept-post"] == "application/connect+json, application/connect+proto"


@pytest.mark.parametrize(
    ("headers", "field"),
    [({"connect-protocol-version": "2"}, "connect-protocol-version"),
     ({"connect-protocol-version": ""}, "connect-protocol-version"),
     ({"connect-timeout-ms": "soon"}, "connect-timeout-ms"),
     ({"connect-timeout-ms": "-1"}, "connect-timeout-ms"),
     ({"connect-timeout-ms": "1.5"}, "connect-timeout-ms"),
     ({"connect-timeout-ms": ""}, "connect-timeout-ms"),
     ({"connect-timeout-ms": "12345678901"}, "connect-timeout-ms"),
     ({"x-some-bin": "!!"}, "x-some-bin")],
)  # fmt: skip
async def test_headers_of_the_protocol_are_checked(
    rpcs: Rpcs, headers: dict[str, str], field: str
) -> None:
    answer = await rpcs.call(invoke("add"), **headers)
    assert (answer.status, told(answer.json)[:2]) == (400, INVALID)
    assert told(answer.json).metadata["field"] == field
    async with rpcs.stream(stream_of("count", 1), **headers) as stream:
        assert (await stream.error()).metadata["field"] == field

    assert await rpcs.result(invoke("total"), connect_timeout_ms="9999999999") == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", INVOKE, "POST"), ("PUT", INVOKE, "POST"), ("GET", STREAM, "POST"),
     ("HEAD", INVOKE, "POST"), ("DELETE", f"{ACTORS}/GetActor", "POST, GET")],
)  # fmt: skip
async def test_another_method_is_not_allowed(
    rpcs: Rpcs, session: aiohttp.ClientSession, method: str, path: str, allowed: str
) -> None:
    async with session.request(method, rpcs.url + path) as response:
        assert (response.status, response.headers["allow"]) == (405, allowed)


async def test_what_there_is_not_is_not_found(rpcs: Rpcs) -> None:
    for path in (f"{ACTORS}/Nothing", "/holdfast.v1.NoService/GetActor", f"{ACTORS}/"):
        answer = await rpcs.post(path, b"{}", JSON)
        assert (answer.status, told(answer.json)[:2]) == (
            404,
            ("unimplemented", "RPC_UNIMPLEMENTED"),
        )


async def test_a_session_needs_http_2(rpcs: Rpcs) -> None:
    path = "/holdfast.v1.SessionService/OpenSession"
    answer = await rpcs.post(path, b"", "application/connect+proto")

    assert (answer.status, answer.headers["connection"]) == (505, "close")
    assert told(answer.json)[:2] == ("unimplemented", "RPC_UNIMPLEMENTED")
    assert "gRPC" in answer.json["message"]


# Sizes


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(rpcs: Rpcs) -> None:
    most = rpcs.server.listener.message_bytes_max
    async with line_to(rpcs.server) as line:
        head = f"Content-Type: {PROTO}", f"Content-Length: {most + 1}"
        await line.send(request("POST", INVOKE, *head))
        status, headers, _ = await line.response()
        assert (status, headers["connection"]) == (400, "close")
    async with line_to(rpcs.server) as line:
        await line.send(
            request("POST", INVOKE, f"Content-Type: {PROTO}", "Transfer-Encoding: chunked")
        )
        part = b"%x\r\n%s\r\n" % (MIB, b"x" * MIB)
        for _ in range(most // MIB + 1):
            await line.send(part)
        assert (await line.response())[0] == 400


async def test_what_becomes_too_large_when_it_is_decompressed_is_refused(rpcs: Rpcs) -> None:
    bomb = gzip.compress(b" " * (64 * MIB))
    assert len(bomb) < 100_000

    answer = await rpcs.post(INVOKE, bomb, JSON, content_encoding="gzip")
    assert (answer.status, told(answer.json)[:2]) == (400, TOO_LONG)
    body = enveloped(bomb, flags=1)
    async with rpcs.stream(stream_of("x"), body=body, connect_content_encoding="gzip") as stream:
        assert (await stream.error())[:2] == TOO_LONG


async def test_a_payload_that_is_too_large_is_refused_as_over_grpc(rpcs: Rpcs) -> None:
    for encoding in ("json", "proto"):
        answer = await rpcs.call(invoke("echo", "x" * MIB), encoding=encoding)
        assert (answer.status, told(answer.json)[:2]) == (400, TOO_LONG)
        assert told(answer.json).metadata["field"] == "args"


GOOD = encoded("json", invoke("add"))


@pytest.mark.parametrize("data", [b"x", gzip.compress(GOOD)[:-1], gzip.compress(GOOD) + b"x"])
async def test_what_is_no_gzip_is_refused(rpcs: Rpcs, data: bytes) -> None:
    answer = await rpcs.post(INVOKE, data, JSON, content_encoding="gzip")

    assert (answer.status, told(answer.json)[:2]) == (400, INVALID)
    assert told(answer.json).metadata["field"] == "body"


async def test_a_body_that_does_not_arrive_is_given_up(start: Start) -> None:
    server = await start(registry, http_body_timeout_s=0.05)
    for path, kind in ((INVOKE, JSON), (STREAM, "application/connect+json")):
        async with line_to(server) as line:
            head = f"Content-Type: {kind}", "Content-Length: 5", "Connection: close"
            await line.send(request("POST", path, *head))
            assert b'"deadline_exceeded"' in await line.rest()


async def test_the_deadline_is_that_of_the_body_too(rpcs: Rpcs) -> None:
    for path, kind in ((INVOKE, JSON), (STREAM, "application/connect+json")):
        async with line_to(rpcs.server) as line:
            head = f"Content-Type: {kind}", "Content-Length: 1000", "Connect-Timeout-Ms: 30"
            await line.send(request("POST", path, *head))
            await line.until(b'"deadline_exceeded"')


# Envelopes


CALL = encoded("json", stream_of("count", 1))


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", INVALID), (b"\0\0\0", INVALID), (CALL, INVALID), (enveloped(CALL)[:-1], INVALID),
     (enveloped(CALL) + enveloped(CALL), INVALID), (enveloped(CALL) + b"x", INVALID),
     (enveloped(CALL, flags=2), INVALID), (enveloped(CALL, flags=128), INVALID),
     (enveloped(gzip.compress(CALL), flags=1), INVALID), (enveloped(b"{"), INVALID),
     (enveloped(b""), INVALID), (b"\0\xff\xff\xff\xff{}", TOO_LONG)],
)  # fmt: skip
async def test_a_malformed_envelope_is_refused(
    rpcs: Rpcs, body: bytes, reason: tuple[str, str]
) -> None:
    async with rpcs.stream(stream_of("count", 1), body=body) as stream:
        error = await stream.error()

    assert error[:2] == reason
    assert error.metadata["field"] == "body"


async def test_an_unknown_compression_of_a_stream_is_unimplemented(rpcs: Rpcs) -> None:
    async with rpcs.stream(stream_of("x"), connect_content_encoding="br") as stream:
        assert (await stream.error())[:2] == ("unimplemented", "RPC_UNIMPLEMENTED")


# Who may call


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"},
     {"authorization": "secret"}, {"x-rivet-token": "wrong"}],
)  # fmt: skip
async def test_a_missing_or_wrong_token_is_refused(
    start: Start, session: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    rpcs = Rpcs(session, await start(registry, token="secret"))

    answer = await rpcs.call(invoke("add"), **headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert told(answer.json)[:2] == ("unauthenticated", "UNAUTHENTICATED")
    async with rpcs.stream(stream_of("count", 1), **headers) as stream:
        assert (await stream.error()).code == "unauthenticated"

    assert await rpcs.result(invoke("total"), authorization="Bearer secret") == 0
    # What probes a server seldom holds a token.
    health = await rpcs.post("/grpc.health.v1.Health/Check", b"{}", JSON)
    assert health.json == {"status": "SERVING"}


async def test_nothing_is_read_of_whoever_has_no_token(start: Start) -> None:
    server = await start(registry, token="secret")
    for path, kind in ((INVOKE, JSON), (STREAM, "application/connect+json")):
        async with line_to(server) as line:
            # The body never comes.
            head = f"Content-Type: {kind}", "Content-Length: 1000"
            await line.send(request("POST", path, *head))
            await line.until(b'"unauthenticated"')


async def test_keys_belong_to_the_caller_that_the_token_names(
    start: Start, session: aiohttp.ClientSession
) -> None:
    rpcs = Rpcs(session, await start(registry, token="ada secret,bob other"))
    request = invoke("add", 1, idempotency_key="k")

    for token, total in (("secret", 1), ("secret", 1), ("other", 2)):
        assert await rpcs.result(request, authorization=f"Bearer {token}") == total


async def test_keys_belong_to_the_name_in_the_certificate_as_over_grpc(
    start: Start, session: aiohttp.ClientSession
) -> None:
    files = {"tls_cert": str(TLS / "server.pem"), "tls_key": str(TLS / "server.key")}
    server = await start(registry, **files, tls_client_ca=str(TLS / "ca.pem"))
    asked = invoke("add", 1, idempotency_key="k")
    context = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    context.load_cert_chain(TLS / "ada.pem", TLS / "ada.key")
    credentials = grpc.ssl_channel_credentials(
        (TLS / "ca.pem").read_bytes(),
        (TLS / "ada.key").read_bytes(),
        (TLS / "ada.pem").read_bytes(),
    )

    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        first = await Wire(channel).actors.InvokeAction(asked)
    async with session.post(
        f"https://127.0.0.1:{server.http_port}{INVOKE}",
        data=encoded("proto", asked),
        headers={"content-type": PROTO},
        ssl=context,
    ) as response:
        again = pb.InvokeActionResponse.FromString(await response.read())

    assert (first.replayed, again.replayed) == (False, True)


async def test_pages_from_elsewhere_are_refused_in_the_shape_of_the_protocol(rpcs: Rpcs) -> None:
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = await rpcs.call(invoke("add"), **headers)
        assert answer.status == 403
        assert told(answer.json)[:2] == ("permission_denied", "FORBIDDEN")
        assert "access-control-allow-origin" not in answer.headers


async def test_a_page_may_send_and_read_what_the_protocol_has(
    rpcs: Rpcs, session: aiohttp.ClientSession
) -> None:
    origin = {"origin": "http://localhost:5173"}
    asked = "content-type,connect-protocol-version,connect-timeout-ms,authorization"
    async with session.options(
        rpcs.url + INVOKE,
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": asked,
        },
    ) as response:
        assert response.status == 204
        assert response.headers["access-control-allow-headers"] == asked
        assert "POST" in response.headers["access-control-allow-methods"]

    answer = await rpcs.call(invoke("add"), **origin)
    assert answer.headers["access-control-allow-origin"] == origin["origin"]
    exposed = answer.headers["access-control-expose-headers"]
    assert {"retry-after", "connect-content-encoding"} <= set(exposed.split(", "))
    async with rpcs.stream(stream_of("count", 1), **origin) as stream:
        assert stream.response.headers["access-control-allow-origin"] == origin["origin"]


async def test_whoever_comes_before_the_start_is_told_to_come_again(
    session: aiohttp.ClientSession,
) -> None:
    limits = load({}, store_wait_s=0.01).limits
    gateway = Gateway(limits, secret_bytes=bytes, tls=lambda: None, access_log=False)
    port = await gateway.open(bind(HostPort("127.0.0.1", 0)))
    try:
        for kind, status in ((JSON, 503), ("application/connect+json", 200)):
            async with session.post(
                f"http://127.0.0.1:{port}{INVOKE}", data=b"{}", headers={"content-type": kind}
            ) as response:
                assert response.status == status
                assert b'"unavailable"' in await response.read()
    finally:
        await gateway.close()


async def test_many_bad_requests_leave_nothing_behind(rpcs: Rpcs, stage: Stage) -> None:
    async def bad(number: int) -> int:
        kinds: list[Any] = [JSON, PROTO, "application/connect+json", "text/plain"]
        return (await rpcs.post(INVOKE, b"\xff" * (number % 7), kinds[number % 4])).status

    statuses = await asyncio.gather(*(bad(number) for number in range(200)))

    assert set(statuses) <= {200, 400, 415}
    assert not rpcs.server.listener.calls._tasks
    assert await rpcs.result(invoke("add")) == 1
