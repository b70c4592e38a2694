"""The binary encodings over the wire, by bytes that real clients send and are sent."""

from __future__ import annotations

import pytest
from aiohttp import WSMsgType

from tests.gateway.browser import Browser, Talk, get_only, get_or_create

ACT = f"/gateway/counter/action/increment?{get_or_create('a')}"
BARE, CBOR = {"x-rivet-encoding": "bare"}, {"x-rivet-encoding": "cbor"}
# {"args": [5]}, its answer {"output": 5}.
CBOR_FIVE = b"\xa1\x64args\x81\x05"
CBOR_OUTPUT = b"\xa1\x66output\x05"


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_an_action_in_bare_is_answered_in_version_2(browser: Browser, version: int) -> None:
    answer = await browser.ask(
        "POST", ACT, data=bytes([version, 0]) + b"\x02\x81\x05", headers=BARE
    )

    assert (answer.status, answer.body) == (200, b"\x02\x00\x01\x05")
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_an_action_in_cbor(browser: Browser) -> None:
    answer = await browser.ask("POST", ACT, data=CBOR_FIVE, headers=CBOR)

    assert answer.status == 200
    assert CBOR_OUTPUT[1:] in answer.body


async def test_errors_are_in_the_encoding_of_the_request(browser: Browser) -> None:
    path = ACT.replace("increment", "fail")

    bare = await browser.ask("POST", path, data=b"\x02\x00\x01\x80", headers=BARE)
    cbor = await browser.ask("POST", path, data=b"\xa1\x64args\x80", headers=CBOR)

    assert bare.status == cbor.status == 400
    # Version, group, code, message, then that there is metadata.
    head = b"\x02\x00\x04user\x06closed\x09not today\x01"
    assert bare.body.startswith(head)
    assert b"\x65until\x82\x01\xf6" in bare.body
    assert b"\x64code\x66closed" in cbor.body
    for answer in (bare, cbor):
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-rivet-error"] == "user.closed"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (BARE, b""),
        (BARE, b"\x02"),
        (BARE, b"\x02\x00"),
        (BARE, b"\x00\x00\x02\x81\x05"),
        (BARE, b"\x09\x00\x02\x81\x05"),
        (BARE, b"\xff\xff\x02\x81\x05"),
        (BARE, b"\x02\x00\x09\x81\x05"),
        (BARE, b"\x02\x00\x02\x81\x05\x00"),
        (BARE, b"\x02\x00" + b"\xff" * 12),
        (CBOR, b"\xa1\x64args\x81"),
        (CBOR, b"\xff"),
        (CBOR, b"\x81" * 5000),
        (CBOR, b"\xa1\x64args\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
        (CBOR, CBOR_FIVE + b"\x00"),
    ],
)
async def test_bytes_that_are_cut_short_or_false_are_refused(
    browser: Browser, headers: dict[str, str], body: bytes
) -> None:
    answer = await browser.ask("POST", ACT, data=body, headers=headers)

    assert answer.status == 400
    assert answer.headers["x-rivet-error"] == "payload.malformed"
    assert await browser.result("counter", "a", "value") == 0


async def test_a_queue_that_is_not_there_is_told_in_every_encoding(browser: Browser) -> None:
    path = f"/gateway/counter/queue/mail?{get_only('a')}"
    for headers, body in ((BARE, b"\x03\x00\x01\xf6\x00\x00\x00"), (CBOR, b"\xa1\x64body\xf6")):
        answer = await browser.ask("POST", path, data=body, headers=headers)
        assert answer.status == 404
        assert answer.headers["x-rivet-error"] == "queue.not_found"


async def open_talk(browser: Browser, encoding: str) -> tuple[Talk, bytes]:
    """A connection, and its Init."""
    talk = await browser.connect("counter", "a", protocols=("rivet", f"rivet_encoding.{encoding}"))
    message = await talk.socket.receive()
    assert message.type is WSMsgType.BINARY
    return talk, message.data


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_a_connection_in_bare(browser: Browser, version: int) -> None:
    talk, init = await open_talk(browser, "bare")
    actor_id = await browser.actor_id("counter", "a")
    assert init.startswith(b"\x02\x00\x00" + bytes([len(actor_id)]) + actor_id.encode())

    head = bytes([version, 0])
    await talk.socket.send_bytes(head + b"\x01\x05count\x01")
    await talk.socket.send_bytes(head + b"\x00\x00\x09increment\x02\x81\x03")
    assert await talk.socket.receive_bytes() == b"\x02\x00\x03\x05count\x02\x81\x03"
    assert await talk.socket.receive_bytes() == b"\x02\x00\x02\x00\x01\x03"
    await talk.leave()


async def test_ids_in_cbor_have_eight_bytes(browser: Browser) -> None:
    talk, _ = await open_talk(browser, "cbor")

    request = (
        b"\xa1\x64body\xa2\x63tag\x6dActionRequest\x63val"
        b"\xa3\x62id\x1b\x00\x00\x00\x00\x00\x00\x00\x00\x64name\x65value\x64args\x80"
    )
    await talk.socket.send_bytes(request)

    assert b"\x62id\x1b\x00\x00\x00\x00\x00\x00\x00\x00" in await talk.socket.receive_bytes()
    await talk.leave()


@pytest.mark.parametrize("encoding", ["bare", "cbor"])
@pytest.mark.parametrize(
    "frame",
    [b"", b"\x02", b"\x02\x00\x07", b"\x02\x00\x00\x00\x09incr", b"\xff\xff\xff", b"\xa0", "text"],
)
async def test_a_frame_that_is_none_ends_the_connection(
    browser: Browser, encoding: str, frame: bytes | str
) -> None:
    talk, _ = await open_talk(browser, encoding)

    if isinstance(frame, str):
        await talk.socket.send_str(frame)
    else:
        await talk.socket.send_bytes(frame)

    assert await talk.closed() == (1011, "payload.malformed")
