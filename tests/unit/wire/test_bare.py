"""BARE: what is written is read again, and every byte of it is needed."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.gateway.wire import WireError, schemas
from holdfast_server.gateway.wire.bare import BOOL, DATA, STR, U64, UINT, Optional, Reader, Type
from tests.unit.wire.strategies import ids, relaxed, texts

data = st.binary(max_size=40)
actor = st.fixed_dictionaries({"actorId": texts, "generation": ids, "key": st.none() | texts})
error = {"group": texts, "code": texts, "message": texts, "metadata": st.none() | data}
action_id = {"actionId": st.none() | ids}
to_server = st.tuples(
    st.just("ActionRequest"), st.fixed_dictionaries({"id": ids, "name": texts, "args": data})
) | st.tuples(
    st.just("SubscriptionRequest"),
    st.fixed_dictionaries({"eventName": texts, "subscribe": st.booleans()}),
)


def to_client(version: int) -> st.SearchStrategy[Any]:
    init = {"actorId": texts, "connectionId": texts}
    if version == 1:
        init["connectionToken"] = texts
    failure = {**error, **action_id}
    if version == 4:
        failure["actor"] = st.none() | actor
    return (
        st.tuples(st.just("Init"), st.fixed_dictionaries(init))
        | st.tuples(st.just("Error"), st.fixed_dictionaries(failure))
        | st.tuples(st.just("ActionResponse"), st.fixed_dictionaries({"id": ids, "output": data}))
        | st.tuples(st.just("Event"), st.fixed_dictionaries({"name": texts, "args": data}))
    )


def body(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"body": strategy})


def http_error(version: int) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({**error, "actor": st.none() | actor} if version == 4 else error)


queue = {
    "body": data,
    "name": st.none() | texts,
    "wait": st.none() | st.booleans(),
    "timeout": st.none() | ids,
}
SCHEMAS: list[tuple[str, schemas.Versions, Callable[[int], st.SearchStrategy[Any]]]] = [
    ("to_server", schemas.TO_SERVER, lambda _: body(to_server)),
    ("to_client", schemas.TO_CLIENT, lambda version: body(to_client(version))),
    (
        "action_request",
        schemas.HTTP_ACTION_REQUEST,
        lambda _: st.fixed_dictionaries({"args": data}),
    ),
    (
        "action_response",
        schemas.HTTP_ACTION_RESPONSE,
        lambda _: st.fixed_dictionaries({"output": data}),
    ),
    ("error", schemas.HTTP_RESPONSE_ERROR, http_error),
    ("resolve", schemas.HTTP_RESOLVE_RESPONSE, lambda _: st.fixed_dictionaries({"actorId": texts})),
    ("queue_request", schemas.HTTP_QUEUE_SEND_REQUEST, lambda _: st.fixed_dictionaries(queue)),
    (
        "queue_response",
        schemas.HTTP_QUEUE_SEND_RESPONSE,
        lambda _: st.fixed_dictionaries({"status": texts, "response": st.none() | data}),
    ),
]
EVERY = [
    pytest.param(versions, version, messages(version), id=f"{name}-{version}")
    for name, versions, messages in SCHEMAS
    for version in versions
]


@pytest.mark.parametrize(("versions", "version", "messages"), EVERY)
def test_a_message_comes_back(
    versions: schemas.Versions, version: int, messages: st.SearchStrategy[Any]
) -> None:
    @relaxed
    @given(message=messages)
    def comes_back(message: Any) -> None:
        written = schemas.write(versions, version, message)
        assert schemas.read(versions, written) == (version, message)

    comes_back()


@pytest.mark.parametrize(("versions", "version", "messages"), EVERY)
def test_a_message_that_is_cut_or_has_more_is_refused(
    versions: schemas.Versions, version: int, messages: st.SearchStrategy[Any]
) -> None:
    @relaxed
    @given(message=messages, data=st.data())
    def refused(message: Any, data: st.DataObject) -> None:
        written = schemas.write(versions, version, message)
        cut = data.draw(st.integers(0, len(written) - 1))
        with pytest.raises(WireError, match="too early") as caught:
            schemas.read(versions, written[:cut])
        assert caught.value.offset is not None
        assert caught.value.offset <= cut
        with pytest.raises(WireError, match="1 bytes are left over") as caught:
            schemas.read(versions, written + b"\0")
        assert caught.value.offset == len(written)

    refused()


@relaxed
@given(
    kind=st.sampled_from([UINT, U64, BOOL, DATA, STR, Optional(UINT)]), raw=st.binary(max_size=12)
)
def test_what_is_read_is_written_as_the_same_bytes(kind: Type, raw: bytes) -> None:
    reader, out = Reader(raw), bytearray()
    with contextlib.suppress(WireError):
        value = kind.read(reader, "field")
        kind.write(out, value, "field")
        assert bytes(out) == raw[: reader.offset]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**32, "8080808010"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_integers_take_as_few_bytes_as_they_can(value: int, written: str) -> None:
    out = bytearray()
    UINT.write(out, value, "id")
    assert out.hex() == written
    assert UINT.read(Reader(bytes(out)), "id") == value


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("8000", "more bytes than it needs"),
        ("ffffffffffffffffff02", "over 64 bits"),
        ("ffffffffffffffffffff01", "more than 10 bytes"),
        ("80", "ends 1 byte too early"),
        ("", "ends 1 byte too early"),
    ],
)
def test_other_spellings_of_integers_are_refused(raw: str, problem: str) -> None:
    with pytest.raises(WireError, match=problem) as caught:
        UINT.read(Reader(bytes.fromhex(raw)), "id")
    assert caught.value.field == "id"


def test_a_length_beyond_the_end_names_what_is_missing() -> None:
    with pytest.raises(WireError) as caught:
        DATA.read(Reader(bytes.fromhex("ffffffffffffffffff01") + b"abc"), "args")
    assert str(caught.value) == f"args: ends {2**64 - 4} bytes too early (byte 10)"
    assert caught.value.limit == 13


def test_text_that_is_no_utf8_and_booleans_that_are_none_are_refused() -> None:
    with pytest.raises(WireError) as caught:
        STR.read(Reader(b"\x03a\xffb"), "name")
    assert str(caught.value) == "name: not UTF-8 (byte 2)"
    with pytest.raises(WireError, match=r"subscribe: not a boolean: 2 \(byte 0\)"):
        BOOL.read(Reader(b"\x02"), "subscribe")


@pytest.mark.parametrize("value", [-1, 2**64, True, 1.0, "1", None])
def test_what_is_no_integer_is_not_written(value: Any) -> None:
    for kind in (UINT, U64):
        with pytest.raises(WireError, match="id: not an integer of 64 bits"):
            kind.write(bytearray(), value, "id")


@pytest.mark.parametrize("value", ["\ud800", b"a", None])
def test_what_is_no_text_is_not_written(value: Any) -> None:
    with pytest.raises(WireError, match="name: not"):
        STR.write(bytearray(), value, "name")


def test_an_unknown_version_or_message_is_named() -> None:
    with pytest.raises(WireError) as caught:
        schemas.read(schemas.TO_SERVER, b"\x05\x00\x01")
    assert str(caught.value) == "version: unknown version 5, not one of 1 to 4 (byte 0)"
    assert caught.value.limit == 4
    with pytest.raises(WireError, match=r"not one of 3 to 4"):
        schemas.read(schemas.HTTP_QUEUE_SEND_REQUEST, b"\x02\x00\x01")
    with pytest.raises(WireError, match=r"body\.tag: unknown message 9 \(byte 2\)"):
        schemas.read(schemas.TO_SERVER, b"\x02\x00\x09")
