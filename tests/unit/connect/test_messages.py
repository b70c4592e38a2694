"""Messages of the Connect protocol: both ways, and whatever else comes."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import actor_pb2, actor_service_pb2, event_service_pb2, payload_pb2
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.gateway.connect import jsons
from holdfast_server.gateway.connect.messages import (
    ENCODINGS,
    GZIP,
    IDENTITY,
    Coding,
    bytes_max,
    decode,
    encode,
    envelope,
    only_message,
    pack,
    unpack,
)
from tests.unit.wire.strategies import relaxed

pb = actor_service_pb2
LIMIT = 1 << 16
REFUSED = {errors.REQUEST_INVALID, errors.MESSAGE_INCOMING_TOO_LONG}
MEMBERS = ["target", "args", "getOrCreate", "get_or_create", "name", "key", "encoding", "data",
           "actorId", "clientSequence", "number", "clientId", "acceptEncoding", "fromSequence",
           "after", "slowReader", "incarnation"]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
codings = st.sampled_from([Coding(IDENTITY, IDENTITY), Coding(IDENTITY, GZIP), Coding(GZIP, GZIP)])
requests = st.builds(
    pb.InvokeActionRequest,
    namespace=texts,
    action=texts,
    target=st.builds(
        actor_pb2.ActorTarget,
        get=st.builds(actor_pb2.ActorKey, name=texts, key=st.lists(texts, max_size=3)),
        input=st.builds(payload_pb2.Payload, data=st.binary(max_size=20), encoding=st.just(2)),
    ),
    client_sequence=st.builds(
        actor_pb2.ClientSequence,
        client_id=st.binary(max_size=16),
        number=st.integers(0, 2**64 - 1),
    ),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just("WzJd"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MEMBERS) | texts, inner, max_size=4)
    ),
    max_leaves=12,
)


def outcome(run: Callable[[], Any]) -> Any:
    """What is returned, or the reason why it is refused."""
    try:
        return run()
    except HoldfastError as error:
        return error.reason


@relaxed
@given(encoding=st.sampled_from(ENCODINGS), message=requests)
def test_a_message_comes_back(encoding: str, message: Message) -> None:
    data = encode(encoding, message)

    assert decode(encoding, data, pb.InvokeActionRequest) == message
    assert len(data) <= bytes_max(encoding, 2 * len(message.SerializeToString()))


@relaxed
@given(message=requests)
def test_json_is_what_the_library_reads_and_writes(message: Message) -> None:
    text = jsons.text(message)

    assert json.loads(text) == json_format.MessageToDict(message)
    assert json_format.Parse(text, pb.InvokeActionRequest()) == message
    spelled = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert jsons.parse(spelled.encode(), pb.InvokeActionRequest) == message


@relaxed
@given(
    value=values,
    kind=st.sampled_from([pb.InvokeActionRequest, event_service_pb2.SubscribeEventsRequest]),
)
def test_any_json_is_a_message_or_refused(value: Any, kind: type[Message]) -> None:
    data = json.dumps(value).encode()
    message = outcome(lambda: jsons.parse(data, kind))
    if isinstance(message, Message):
        assert jsons.parse(jsons.text(message), kind) == message
    else:
        assert message is errors.REQUEST_INVALID


@relaxed
@given(encoding=st.sampled_from(ENCODINGS), data=st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(encoding: str, data: bytes) -> None:
    found = outcome(lambda: decode(encoding, data, pb.InvokeActionRequest))

    assert isinstance(found, Message) or found is errors.REQUEST_INVALID


@pytest.mark.parametrize("data", ["[2]", "W zJd", "WzJd!", "WzJdW", "Wz=Jd", 5, ["WzJd"], {}])
def test_bytes_that_are_no_base64_are_not_guessed_at(data: Any) -> None:
    with pytest.raises(HoldfastError, match=r"args\.data is not base64"):
        jsons.parse(json.dumps({"args": {"data": data}}).encode(), pb.InvokeActionRequest)


@pytest.mark.parametrize("data", ["-_-_", "+/+/", "_w", "_w==", "/w"])
def test_both_alphabets_padded_or_not_are_read(data: str) -> None:
    parsed = jsons.parse(json.dumps({"args": {"data": data}}).encode(), pb.InvokeActionRequest)

    assert len(parsed.args.data) in (1, 3)


@relaxed
@given(data=st.binary(max_size=3000), coding=codings)
def test_an_envelope_comes_back(data: bytes, coding: Coding) -> None:
    # What the server sends compressed, a client could.
    both = Coding(coding.response, coding.response)
    assert only_message(envelope(data, coding), both, LIMIT) == data


@relaxed
@given(body=st.binary(max_size=40), coding=codings)
def test_any_body_is_one_message_or_refused(body: bytes, coding: Coding) -> None:
    data = outcome(lambda: only_message(body, coding, LIMIT))

    if isinstance(data, bytes):
        assert body == b"\0" + len(data).to_bytes(4) + data or body[0] == 1
    else:
        assert data in REFUSED


@relaxed
@given(data=st.binary(max_size=3000))
def test_what_is_compressed_is_what_others_compress(data: bytes) -> None:
    assert gzip.decompress(pack(data)) == data
    assert unpack(gzip.compress(data), GZIP, LIMIT) == data


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1, 100 * LIMIT])
def test_no_more_than_the_limit_is_decompressed(size: int) -> None:
    packed = gzip.compress(bytes(size))
    if size == LIMIT:
        assert len(unpack(packed, GZIP, LIMIT)) == size
        return
    with pytest.raises(HoldfastError) as caught:
        unpack(packed, GZIP, LIMIT)
    assert caught.value.reason is errors.MESSAGE_INCOMING_TOO_LONG


def test_a_bomb_takes_no_memory() -> None:
    packed = gzip.compress(bytes(100 * LIMIT))
    tracemalloc.start()
    try:
        assert outcome(lambda: unpack(packed, GZIP, LIMIT)) is errors.MESSAGE_INCOMING_TOO_LONG
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * LIMIT
