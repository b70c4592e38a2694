"""What the real clients send is taken as they mean it."""

from typing import Any

import pytest

from holdfast import DecodeError, payload
from holdfast_server.gateway.wire import (
    DEFAULT_LIMITS,
    ActionRequest,
    HttpActionRequest,
    SubscriptionRequest,
    codec_for,
    format_key,
    parse_input,
    parse_key,
)
from tests.gateway.vectors import ENCODINGS, load
from tests.unit.wire.seen import IN_JSON, INPUTS, KEYS, SEEN, Refused

BARE_VERSIONS = {"2.0.33": 2, "2.1.3": 3, "2.2.1": 3, "2.3.11": 4, "2.3.19": 4}


def cases(part: str) -> list[Any]:
    return [
        pytest.param(encoding, case, data, versions, id=f"{encoding}-{case}-{versions[0]}")
        for encoding in ENCODINGS
        for case, variants in load("sent")[encoding][part].items()
        for data, versions in variants.items()
    ]


def seen(request: ActionRequest | HttpActionRequest) -> Any:
    """The arguments as an actor sees them that declares no types."""
    if request.refused is not None:
        return Refused(str(request.refused))
    try:
        return payload.decode(request.args.data, request.args.encoding)
    except DecodeError as error:
        return Refused(str(error))


def check(encoding: str, case: str, request: ActionRequest | HttpActionRequest) -> None:
    expected = (IN_JSON if encoding == "json" else SEEN)[case]
    found = seen(request)
    if isinstance(expected, Refused):
        assert isinstance(found, Refused)
        assert expected.text in found.text
    else:
        assert found == expected
        assert repr(found) == repr(expected)  # 1 and 1.0 and True are equal, yet not the same


def of_version(encoding: str, versions: list[str], version: int) -> bool:
    return all(version == (BARE_VERSIONS[v] if encoding == "bare" else 0) for v in versions)


@pytest.mark.parametrize(("encoding", "case", "data", "versions"), cases("bodies"))
def test_a_body(encoding: str, case: str, data: str, versions: list[str]) -> None:
    request = codec_for(encoding).decode_action_request(bytes.fromhex(data))
    check(encoding, case, request)
    assert of_version(encoding, versions, request.version)


@pytest.mark.parametrize(("encoding", "case", "data", "versions"), cases("frames"))
def test_a_frame(encoding: str, case: str, data: str, versions: list[str]) -> None:
    frame = bytes.fromhex(data)
    codec = codec_for(encoding)
    message = codec.decode_to_server(frame if codec.binary else frame.decode())
    assert of_version(encoding, versions, message.version)
    if case == "subscribe":
        assert message == SubscriptionRequest("event", True, message.version)
        return
    assert isinstance(message, ActionRequest)
    assert (message.id, message.name) == (list(SEEN).index(case), case)
    check(encoding, case, message)


def test_every_case_is_sent_by_every_client() -> None:
    for encoding in ENCODINGS:
        for part in ("bodies", "frames"):
            sent = load("sent")[encoding][part]
            assert set(sent) - {"subscribe"} == set(SEEN)
            for case, variants in sent.items():
                said = sorted(version for versions in variants.values() for version in versions)
                assert said == sorted(BARE_VERSIONS), (encoding, part, case)


@pytest.mark.parametrize("case", INPUTS)
def test_an_input(case: str) -> None:
    for text in load("sent")["inputs"][case]:
        if text:  # a client that stumbles over a bigint sends nothing
            value = parse_input(text, DEFAULT_LIMITS)
            assert payload.decode(value.data, value.encoding) == INPUTS[case]


@pytest.mark.parametrize("case", KEYS)
def test_a_key(case: str) -> None:
    (text,) = load("sent")["keys"][case]
    assert parse_key(text) == KEYS[case]
    assert format_key(KEYS[case]) == text
