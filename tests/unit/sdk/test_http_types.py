"""Request, Response, headers, ranges and server-sent events, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import (
    ActorError,
    Headers,
    HoldfastError,
    Query,
    Request,
    Response,
    ServerSentEvent,
    event_stream,
    ranged,
)
from holdfast.ranges import UnsatisfiableRange, parse_range


class Parts:
    """A body that comes in parts."""

    def __init__(self, *parts: bytes) -> None:
        self.left = list(parts)
        self.closed = False

    async def read(self) -> bytes:
        return self.left.pop(0) if self.left else b""

    async def close(self) -> None:
        self.closed = True


async def whole(response: Response) -> bytes:
    assert response.parts is not None
    return b"".join([part async for part in response.parts])  # type: ignore[misc]


def test_headers_are_looked_up_whatever_their_case_and_keep_their_order() -> None:
    headers = Headers((("X-B", "1"), ("x-a", "2"), ("x-b", "3")))
    assert headers["X-b"] == "1"
    assert headers.get_all("x-B") == ["1", "3"]
    assert (list(headers), len(headers), "X-A" in headers) == (["x-b", "x-a"], 2, True)
    assert headers.get("y") is None
    assert headers.pairs[0] == ("X-B", "1")


def test_a_query_gives_first_values_all_values_and_its_text() -> None:
    query = Query("a=1&b=&a=%C3%A4+x&c")
    assert (query["a"], query["b"], query["c"], len(query)) == ("1", "", "", 3)
    assert query.get_all("a") == ["1", "ä x"]
    assert str(query) == "a=1&b=&a=%C3%A4+x&c"
    with pytest.raises(KeyError):
        query["d"]


def test_a_request_knows_its_address() -> None:
    request = Request("GET", "/a%20b/%2F?q=1", {"Host": "example.org:80"}, scheme="https")
    assert request.url == "https://example.org:80/a%20b/%2F?q=1"
    assert (request.path, request.raw_path) == ("/a b//", "/a%20b/%2F")
    assert request.query["q"] == "1"


async def test_a_body_is_read_whole_again_and_again_or_once_in_parts() -> None:
    request = Request(source=Parts(b'{"a":', b"1}"))
    assert await request.body() == b'{"a":1}'
    assert await request.json() == {"a": 1}
    assert [part async for part in request.stream()] == [b'{"a":1}']
    parts = Parts(b"a", b"b")
    streamed = Request(source=parts)
    assert [part async for part in streamed.stream()] == [b"a", b"b"]
    assert parts.closed
    with pytest.raises(HoldfastError):
        await streamed.body()
    assert await Request().body() == b""


async def test_a_body_has_a_limit_where_it_is_asked_for() -> None:
    assert await Request(source=Parts(b"abc", b"de")).body(limit=5) == b"abcde"
    for read in (
        lambda request: request.body(limit=4),
        lambda request: request.text(limit=4),
        lambda request: request.json(limit=4),
    ):
        with pytest.raises(ActorError) as caught:
            await read(Request(source=Parts(b"abc", b"de")))
        assert caught.value.reason == "MESSAGE_INCOMING_TOO_LONG"
    read_before = Request(source=Parts(b"abcde"))
    await read_before.body()
    with pytest.raises(ActorError):
        await read_before.body(limit=4)


@pytest.mark.parametrize(
    ("body", "data", "content_type"),
    [
        (b"\x00", b"\x00", None),
        (bytearray(b"x"), b"x", None),
        ("ä", "ä".encode(), "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
async def test_a_response_of_bytes_or_text(body: Any, data: bytes, content_type: Any) -> None:
    response = Response(body)
    assert response.whole == await response.body() == data
    assert response.headers.get("content-type") == content_type
    own = Response(body, headers=[("Content-Type", "x/y")])
    assert own.headers.get_all("content-type") == ["x/y"]


async def test_a_response_of_json() -> None:
    response = Response.from_json({"ä": [1, None]}, 201, {"x-a": "b"})
    assert response.whole == '{"ä":[1,null]}'.encode()
    assert (response.status, response.headers["content-type"]) == (201, "application/json")
    assert await response.json() == {"ä": [1, None]}
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises((TypeError, ValueError)):
            Response.from_json(value)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"body": {"a": 1}}, TypeError),
        ({"body": None}, TypeError),
        ({"body": 3}, TypeError),
        ({"body": iter([b""])}, TypeError),
        ({"status": "200"}, TypeError),
        ({"status": True}, TypeError),
        ({"status": 199}, ValueError),
        ({"status": 600}, ValueError),
        ({"headers": {"": "x"}}, ValueError),
        ({"headers": {"a:b": "x"}}, ValueError),
        ({"headers": {"ä": "x"}}, ValueError),
        ({"headers": {"a": "x\r\nset-cookie: y"}}, ValueError),
        ({"headers": {"a": "x\x00"}}, ValueError),
        ({"headers": {"a": b"x"}}, TypeError),
    ],
)
def test_what_cannot_be_sent_is_no_response(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Response(**arguments)


# Server-sent events


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ServerSentEvent(data="a"), "data: a\n\n"),
        (ServerSentEvent(data="a\r\nb\rc\n"), "data: a\ndata: b\ndata: c\ndata: \n\n"),
        (ServerSentEvent(data={"ä": 1}), 'data: {"ä":1}\n\n'),
        (
            ServerSentEvent(data="", event="e", id="7", retry_s=1.5),
            "event: e\nid: 7\nretry: 1500\ndata: \n\n",
        ),
    ],
)
def test_an_event_is_encoded_so(event: ServerSentEvent, text: str) -> None:
    assert event.encode() == text.encode()


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(event="a\nb"),
        ServerSentEvent(id="a\rb"),
        ServerSentEvent(id="\0"),
        ServerSentEvent(data=float("inf")),
    ],
)
def test_an_event_that_would_be_read_as_another_is_refused(event: ServerSentEvent) -> None:
    with pytest.raises(ValueError):
        event.encode()


async def test_a_stream_of_events_is_the_body_of_a_response() -> None:
    closed = []

    async def events() -> AsyncIterator[Any]:
        try:
            yield "a"
            yield ServerSentEvent(data=1, id="x")
        finally:
            closed.append(True)

    response = Response(event_stream(events()))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert await whole(response) == b"data: a\n\nid: x\ndata: 1\n\n"
    assert closed == [True]
    with pytest.raises(TypeError):
        event_stream([1])  # type: ignore[arg-type]


# Ranges

DATA = bytes(range(10))


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=3-", (3, 10)),
        ("Bytes = 9-9", (9, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=0-99", (0, 10)),
        # Ignored: malformed, another unit, several.
        ("bytes=3-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=٣-", None),
        ("lines=0-3", None),
        ("bytes=0-1,3-4", None),
    ],
)
def test_a_range_is_read_so(header: str | None, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == part


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_beyond_the_end_is_unsatisfiable(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, size)


def asked(method: str = "GET", **headers: str) -> Request:
    return Request(method, "/", {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_part_is_answered_with_206_and_the_whole_with_200() -> None:
    part = ranged(asked(range="bytes=2-4"), DATA, headers={"content-type": "x/y"})
    assert (part.status, part.whole) == (206, DATA[2:5])
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert (part.headers["accept-ranges"], part.headers["content-type"]) == ("bytes", "x/y")
    everything = ranged(asked(), DATA)
    assert (everything.status, everything.whole) == (200, DATA)
    beyond = ranged(asked(range="bytes=10-"), DATA)
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
    assert ranged(asked("POST", range="bytes=2-4"), DATA).status == 200


def test_a_version_is_told_by_its_tag() -> None:
    assert ranged(asked(if_none_match='"1", "2"'), DATA, etag="2").status == 304
    assert ranged(asked(if_none_match='"1"'), DATA, etag="2").status == 200
    same = ranged(asked(range="bytes=2-", if_range='"2"'), DATA, etag="2")
    assert (same.status, same.headers["etag"]) == (206, '"2"')
    assert ranged(asked(range="bytes=2-", if_range='"1"'), DATA, etag="2").status == 200
    # A date is no version that is known here.
    assert ranged(asked(range="bytes=2-", if_range="Mon, 01 Jan 2026"), DATA).status == 200


async def test_what_is_read_piece_by_piece_can_be_ranged_too() -> None:
    async def read(start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, 2):
            yield DATA[at : min(at + 2, end)]

    part = ranged(asked(range="bytes=1-5"), read, size=10)
    assert (part.status, part.headers["content-length"]) == (206, "5")
    assert await whole(part) == DATA[1:6]
    with pytest.raises(TypeError):
        ranged(asked(), read)
