"""What is said beside a call: subprotocols, parameters, inputs, why a socket closes."""

import base64
from typing import Any
from urllib.parse import quote

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import payload
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.wire import (
    DEFAULT_LIMITS,
    Opening,
    WireError,
    WireLimits,
    close_reason,
    is_tagged,
    parse_input,
    parse_opening,
    parse_params_header,
)
from tests.unit.wire.strategies import relaxed, texts

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def opening(*headers: str) -> Opening:
    return parse_opening(headers, DEFAULT_LIMITS)


def test_what_clients_offer() -> None:
    assert opening("rivet, rivet_encoding.bare") == Opening(answer="rivet", encoding="bare")
    assert opening(
        "rivet,rivet_encoding.cbor, rivet_target.actor, rivet_actor.a%2F1",
        "rivet_token.t%20, rivet_skip_ready_wait, rivet_conn_params.%7B%22a%22%3A1%7D, chat",
    ) == Opening(
        answer="rivet",
        encoding="cbor",
        target="actor",
        actor_id="a/1",
        token="t ",
        params=Value(Encoding.JSON, b'{"a":1}'),
        skip_ready_wait=True,
    )
    assert opening() == opening("") == opening("chat, rivet2, rivet_encodings.x") == Opening()


@relaxed
@given(params=json_values)
def test_params_come_through_a_subprotocol_and_a_header(params: Any) -> None:
    text = msgspec.json.encode(params).decode()
    found = opening("rivet, rivet_conn_params." + quote(text, safe="")).params
    assert found == parse_params_header(text, DEFAULT_LIMITS) == Value(Encoding.JSON, text.encode())


def test_params_in_a_header_may_be_latin_1() -> None:
    as_node_writes_it = '{"n":"zoë"}'.encode("latin-1").decode("utf-8", "surrogateescape")
    as_curl_writes_it = '{"n":"zoë"}'
    for text in (as_node_writes_it, as_curl_writes_it):
        value = parse_params_header(text, DEFAULT_LIMITS)
        assert payload.decode(value.data, value.encoding) == {"n": "zoë"}


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", "[1]2", "\x00", "[" * 4000])
def test_params_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(WireError, match=r"^x-rivet-conn-params: malformed JSON"):
        parse_params_header(text, DEFAULT_LIMITS)
    with pytest.raises(WireError, match=r"^rivet_conn_params: malformed JSON"):
        opening("rivet_conn_params." + quote(text, safe=""))


def test_params_have_a_limit() -> None:
    limits = WireLimits(params_bytes_max=8)
    parse_params_header('"123456"', limits)
    with pytest.raises(WireError, match="9 bytes; at most 8") as caught:
        parse_params_header('"1234567"', limits)
    assert caught.value.limit == 8
    with pytest.raises(WireError, match="9 bytes; at most 8"):
        parse_opening(["rivet_conn_params.%221234567%22"], limits)


@pytest.mark.parametrize(
    "offer",
    ["rivet_encoding.a, rivet_encoding.b", "rivet_token.a, rivet_token.a", "rivet_actor.%ff",
     "rivet_conn_params.%ff"],
)  # fmt: skip
def test_an_offer_that_cannot_be_meant_is_refused(offer: str) -> None:
    with pytest.raises(WireError):
        opening(offer)


def test_an_input_is_cbor_in_base64() -> None:
    text = base64.b64encode(cbor2.dumps({"a": [1, None]})).decode()
    value = parse_input(text, DEFAULT_LIMITS)
    assert payload.decode(value.data, value.encoding) == {"a": [1, None]}
    for bad, problem in (("%", "not base64"), ("gw", "not base64"), ("gwE=", "malformed CBOR")):
        with pytest.raises(WireError, match=f"input: {problem}"):
            parse_input(bad, DEFAULT_LIMITS)
    with pytest.raises(WireError, match="at most 2") as caught:
        parse_input(text, WireLimits(input_bytes_max=2))
    assert caught.value.limit == 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (("user", "denied", ""), "user.denied"),
        (("user", "denied", "ray1"), "user.denied#ray1"),
        (("user", "too.many#parts", "r"), "user.too_many_parts#r"),
        (("user", "x" * 110, "r" * 20), "user." + "x" * 110),
        (("user", "é" * 100, ""), "user." + "é" * 59),
    ],
)
def test_a_close_reason_fits(said: tuple[str, str, str], reason: str) -> None:
    assert close_reason(*said) == reason


@relaxed
@given(group=st.text(max_size=90), code=st.text(max_size=90), ray=texts)
def test_no_close_reason_is_too_long(group: str, code: str, ray: str) -> None:
    assert len(close_reason(group, code, ray).encode()) <= 123


@pytest.mark.parametrize(
    ("agent", "tagged"),
    [
        ("RivetKit/2.0.33", False),
        ("RivetKit/2.2.1 Node.js/20", False),
        ("RivetKit/2.3.11", True),
        ("Mozilla/5.0 RivetKit/2.10.0", True),
        ("RivetKit/3.0.0", True),
        ("RivetKit/x", False),
        ("curl/8.0", False),
        ("", False),
    ],
)
def test_which_clients_tag_values(agent: str, tagged: bool) -> None:
    assert is_tagged(agent) is tagged
