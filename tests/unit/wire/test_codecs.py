"""What a codec writes holds what it was given; what a client writes is read as it was meant."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import BigInt, payload
from holdfast._from_javascript import decode, read, settle
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.wire import (
    ActionRequest,
    ActionResponse,
    Codec,
    Error,
    Event,
    HttpActionResponse,
    HttpQueueSendResponse,
    HttpResponseError,
    Init,
    SubscriptionRequest,
    WireError,
    WireLimits,
    codec_for,
    schemas,
)
from holdfast_server.gateway.wire.tags import revive
from tests.unit.wire.strategies import encoded, ids, names, plain, relaxed, values

ENCODINGS = ("json", "cbor", "bare")
KINDS = [(encoding, tagged) for encoding in ENCODINGS for tagged in (False, True)]
codecs = st.sampled_from(KINDS).map(lambda kind: codec_for(kind[0], tagged=kind[1]))


def opened(codec: Codec, data: bytes | str, versions: schemas.Versions) -> Any:
    """What a client finds in a frame or body, but for the values in it."""
    if codec.name == "json":
        return msgspec.json.decode(data)
    assert isinstance(data, bytes)
    if codec.name == "cbor":
        return cbor2.loads(data)
    version, message = schemas.read(versions, data)
    assert version in (2, 3)
    if "body" in message:
        tag, val = message["body"]
        return {"body": {"tag": tag, "val": val}}
    return message


def value_of(codec: Codec, held: Any) -> Any:
    """The value in what `opened` gave, as an actor would see it that got it back."""
    if codec.name == "json":
        return revive(held, 100)
    data = held if codec.name == "bare" else cbor2.dumps(held)
    tree = settle(read(decode(data, 200)))
    return revive(tree, 100) if codec.tagged else tree


def same(codec: Codec, held: Any, value: Any) -> bool:
    """Whether a value has arrived: in JSON dates are text."""
    expected = plain(value)
    if codec.name == "json":
        expected = msgspec.to_builtins(expected, builtin_types=(bytes,))
    return bool(value_of(codec, held) == expected)


def id_of(codec: Codec, held: Any) -> int:
    if codec.name == "json":
        assert held[0] == "$BigInt"
        return int(held[1])
    assert type(held) is int
    return held


@relaxed
@given(codec=codecs, number=ids, value=values)
def test_a_result_arrives(codec: Codec, number: int, value: Any) -> None:
    frame = codec.encode_to_client(ActionResponse(number, encoded(value)))
    assert isinstance(frame, bytes) == codec.binary
    said = opened(codec, frame, schemas.TO_CLIENT)["body"]
    assert said["tag"] == "ActionResponse"
    assert id_of(codec, said["val"]["id"]) == number
    if codec.name != "cbor":
        assert same(codec, said["val"]["output"], value)
    body = codec.encode_action_response(HttpActionResponse(encoded(value)))
    held = opened(codec, body, schemas.HTTP_ACTION_RESPONSE)
    assert set(held) == {"output"}
    if codec.name != "cbor":
        assert same(codec, held["output"], value)


@relaxed
@given(tagged=st.booleans(), number=ids, value=values)
def test_a_result_stands_in_cbor_as_it_stands_alone(tagged: bool, number: int, value: Any) -> None:
    codec = codec_for("cbor", tagged=tagged)
    frame = codec.encode_to_client(ActionResponse(number, encoded(value)))
    alone = codec_for("bare", tagged=tagged).encode_action_response(
        HttpActionResponse(encoded(value))
    )
    _, said = schemas.read(schemas.HTTP_ACTION_RESPONSE, alone)
    assert isinstance(frame, bytes)
    assert frame.endswith(
        b"\x62id\x1b" + number.to_bytes(8, "big") + b"\x66output" + said["output"]
    )
    cbor2.loads(frame)


@relaxed
@given(codec=codecs, name=names, value=st.lists(values, max_size=3))
def test_an_event_arrives(codec: Codec, name: str, value: list[Any]) -> None:
    frame = codec.encode_to_client(Event(name, encoded(value)))
    said = opened(codec, frame, schemas.TO_CLIENT)["body"]
    assert (said["tag"], said["val"]["name"]) == ("Event", name)
    if codec.name != "cbor":
        assert same(codec, said["val"]["args"], value)


@relaxed
@given(codec=codecs, number=st.none() | ids, texts=st.tuples(names, names, names))
def test_an_error_arrives(codec: Codec, number: int | None, texts: tuple[str, str, str]) -> None:
    metadata = Value(Encoding.JSON, b'{"why":["$x",1]}')
    said = opened(
        codec, codec.encode_to_client(Error(*texts, metadata, number)), schemas.TO_CLIENT
    )["body"]
    assert said["tag"] == "Error"
    val = said["val"]
    assert (val["group"], val["code"], val["message"]) == texts
    assert (val["actionId"] is None) == (number is None)
    assert number is None or id_of(codec, val["actionId"]) == number
    assert value_of(codec, val["metadata"]) == {"why": ["$x", 1]}
    body = opened(
        codec, codec.encode_error(HttpResponseError(*texts, metadata)), schemas.HTTP_RESPONSE_ERROR
    )
    assert (body["group"], body["code"], body["message"]) == texts


@pytest.mark.parametrize(("encoding", "tagged"), KINDS)
def test_the_first_frame_and_a_queues_answer(encoding: str, tagged: bool) -> None:
    codec = codec_for(encoding, tagged=tagged)
    init = opened(codec, codec.encode_to_client(Init("a", "c")), schemas.TO_CLIENT)
    assert init == {"body": {"tag": "Init", "val": {"actorId": "a", "connectionId": "c"}}}
    for response, expected in ((None, None), (encoded(["done"]), ["done"])):
        body = codec.encode_queue_response(HttpQueueSendResponse("completed", response))
        said = opened(codec, body, schemas.HTTP_QUEUE_SEND_RESPONSE)
        assert said["status"] == "completed"
        held = said.get("response")
        assert (None if held is None else value_of(codec, held)) == expected


def test_equal_codecs_are_one_key() -> None:
    assert codec_for("bare") == codec_for("bare")
    assert len({codec_for("bare"), codec_for("bare"), codec_for("bare").for_tagged()}) == 2
    assert codec_for("bare").for_tagged().for_tagged() == codec_for("bare", tagged=True)
    assert codec_for(None).name == codec_for("").name == "json"
    with pytest.raises(WireError, match="unknown encoding 'xml', not one of bare, cbor, json"):
        codec_for("xml")


# What clients send


def action_request(codec: Codec, args: Any, version: int = 2) -> bytes:
    """A request as other clients than the real ones may write it."""
    if codec.name == "json":
        return msgspec.json.encode(
            {"body": {"tag": "ActionRequest", "val": {"id": 7, "name": "n", "args": args}}}
        )
    if codec.name == "cbor":
        return cbor2.dumps(
            {"body": {"tag": "ActionRequest", "val": {"id": 7, "name": "n", "args": args}}}
        )
    val = {"id": 7, "name": "n", "args": cbor2.dumps(args)}
    return schemas.write(schemas.TO_SERVER, version, {"body": ("ActionRequest", val)})


def taken(codec: Codec, args: Any) -> ActionRequest:
    message = codec.decode_to_server(action_request(codec, args))
    assert isinstance(message, ActionRequest)
    assert (message.id, message.name) == (7, "n")
    return message


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("args", "seen"),
    [([1, 2], [1, 2]), ([], []), (None, []), (5, [5]), ({"a": 1}, [{"a": 1}]), ("x", ["x"])],
)
def test_what_is_no_array_is_one_argument(encoding: str, args: Any, seen: list[Any]) -> None:
    message = taken(codec_for(encoding), args)
    assert message.refused is None
    assert payload.decode(message.args.data, message.args.encoding) == seen


def test_ids_come_in_many_spellings() -> None:
    for said in (7, cbor2.CBORTag(2, b"\x07"), 7.0 * 2**40):
        frame = cbor2.dumps(
            {"body": {"tag": "ActionRequest", "val": {"id": said, "name": "n", "args": []}}}
        )
        message = codec_for("cbor").decode_to_server(frame)
        assert isinstance(message, ActionRequest)
        assert message.id == (said.value[0] if isinstance(said, cbor2.CBORTag) else said)
    empty = {"id": cbor2.CBORTag(2, b""), "name": "n", "args": []}
    message = codec_for("cbor").decode_to_server(
        cbor2.dumps({"body": {"tag": "ActionRequest", "val": empty}})
    )
    assert isinstance(message, ActionRequest)
    assert message.id == 0


@pytest.mark.parametrize(
    "number", ["-1", "null", '"7"', '["$BigInt","-1"]', '["$BigInt","٣"]', "18446744073709551616"]
)
def test_what_is_no_id_is_refused(number: str) -> None:
    frame = '{"body":{"tag":"ActionRequest","val":{"id":ID,"name":"n","args":[]}}}'
    with pytest.raises(WireError, match=r"body\.val\.id: not an id"):
        codec_for("json").decode_to_server(frame.replace("ID", number))


def test_arguments_that_cannot_be_taken_are_refused_with_their_id() -> None:
    error = cbor2.CBORTag(27, ["Error", "boom"])
    cases: list[tuple[str, Any, str]] = [
        ("cbor", [1, {"a": [error]}], "body.val.args[1].a[0]: a JavaScript Error"),
        ("cbor", [cbor2.CBORTag(99, 1)], "body.val.args[0]: CBOR tag 99"),
        ("json", [1, ["$Later", 1]], "body.val.args[1]: unknown tag '$Later'"),
        ("json", [["$BigInt", "1.5"]], "body.val.args[0]: $BigInt holds a decimal number"),
        ("json", [{"b": ["$Uint8Array", "%"]}], "body.val.args[0].b: a tag of bytes holds base64"),
    ]
    for encoding, args, problem in cases:
        message = taken(codec_for(encoding), args)
        assert message.refused is not None
        assert str(message.refused).startswith(problem)


def test_a_parameters_default_holds_for_what_is_undefined_at_the_end() -> None:
    args = [1, cbor2.undefined, cbor2.undefined]
    for encoding in ("cbor", "bare"):
        message = taken(codec_for(encoding), args)
        assert payload.decode(message.args.data, message.args.encoding) == [1]
    message = taken(codec_for("json"), [1, ["$Undefined", 0]])
    assert payload.decode(message.args.data, message.args.encoding) == [1]


def test_a_queue_request_is_read() -> None:
    body = b'{"body":{"n":["$BigInt","5"]},"name":"jobs","wait":true,"timeout":250}'
    request = codec_for("json").decode_queue_request(body)
    assert (request.name, request.wait, request.timeout_ms) == ("jobs", True, 250)
    assert payload.decode(request.body.data, request.body.encoding) == {"n": 5}
    said = {"body": [1], "name": "jobs", "wait": None, "timeout": cbor2.undefined}
    request = codec_for("cbor").decode_queue_request(cbor2.dumps(said))
    assert (request.name, request.wait, request.timeout_ms) == ("jobs", False, None)
    bare = {"body": b"\x81\x01", "name": None, "wait": True, "timeout": 9}
    written = schemas.write(schemas.HTTP_QUEUE_SEND_REQUEST, 4, bare)
    request = codec_for("bare").decode_queue_request(written)
    assert (request.name, request.wait, request.timeout_ms, request.version) == (None, True, 9, 4)
    assert payload.decode(request.body.data, request.body.encoding) == [1]


@pytest.mark.parametrize(
    "body", [b'{"timeout":-1}', b'{"timeout":"1"}', b'{"name":5}', b'{"wait":1}', b"[]"]
)
def test_a_queue_request_that_is_wrong_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        codec_for("json").decode_queue_request(body)
    with pytest.raises(WireError):
        codec_for("cbor").decode_queue_request(cbor2.dumps(msgspec.json.decode(body)))


def test_a_body_without_anything_calls_without_arguments() -> None:
    request = codec_for("json").decode_action_request(b"")
    assert payload.decode(request.args.data, request.args.encoding) == []
    for encoding in ("cbor", "bare"):
        with pytest.raises(WireError):
            codec_for(encoding).decode_action_request(b"")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_limits_are_named(encoding: str) -> None:
    limits = WireLimits(frame_bytes_max=400, name_bytes_max=4, depth_max=8)
    codec = codec_for(encoding, limits=limits)
    with pytest.raises(WireError, match="at most 400") as caught:
        codec.decode_to_server(action_request(codec, ["x" * 400]))
    assert caught.value.limit == 400
    name = {"eventName": "zoëzoë", "subscribe": True}
    frame = {
        "json": lambda: msgspec.json.encode({"body": {"tag": "SubscriptionRequest", "val": name}}),
        "cbor": lambda: cbor2.dumps({"body": {"tag": "SubscriptionRequest", "val": name}}),
        "bare": lambda: schemas.write(
            schemas.TO_SERVER, 2, {"body": ("SubscriptionRequest", name)}
        ),
    }[encoding]()
    with pytest.raises(WireError, match=r"body\.val\.eventName: 8 bytes; at most 4") as caught:
        codec.decode_to_server(frame)
    assert caught.value.limit == 4


def test_a_frame_of_the_other_kind_is_refused() -> None:
    for encoding in ("cbor", "bare"):
        with pytest.raises(WireError, match="a text frame"):
            codec_for(encoding).decode_to_server("{}")
    frame = '{"body":{"tag":"SubscriptionRequest","val":{"eventName":"e","subscribe":false}}}'
    expected = SubscriptionRequest("e", False)
    assert codec_for("json").decode_to_server(frame) == expected
    assert codec_for("json").decode_to_server(frame.encode()) == expected


def test_a_bigint_is_marked_whatever_the_encoding_of_the_result() -> None:
    value = encoded({"n": BigInt(5)})
    assert codec_for("json").encode_action_response(HttpActionResponse(value)) == (
        b'{"output":{"n":["$BigInt","5"]}}'
    )
    for encoding, data in ((Encoding.MSGPACK, b"\x81\xa1n\x05"), (Encoding.JSON, b'{"n":5}')):
        plain_value = Value(encoding, data)
        body = codec_for("json").encode_action_response(HttpActionResponse(plain_value))
        assert body == b'{"output":{"n":5}}'
