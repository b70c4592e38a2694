"""Whatever bytes come in: a message or a WireError comes out, soon and in little memory."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import DecodeError, payload
from holdfast_server.core.values import Value
from holdfast_server.gateway.wire import (
    DEFAULT_LIMITS,
    ActionRequest,
    Codec,
    WireError,
    close_reason,
    codec_for,
    parse_input,
    parse_key,
    parse_opening,
    parse_params_header,
    parse_target,
    plain_query,
    schemas,
)
from tests.gateway.vectors import ENCODINGS, load
from tests.unit.wire.strategies import relaxed

QUEUE: Final = {
    "json": b'{"body":["$BigInt","5"],"name":"jobs","wait":true,"timeout":250}',
    "cbor": bytes.fromhex(
        "a464626f6479810164" + "6e616d65646a6f6273" + "6477616974f5" + "6774696d656f757418fa"
    ),
    "bare": schemas.write(
        schemas.HTTP_QUEUE_SEND_REQUEST,
        4,
        {"body": b"\x81\x01", "name": "jobs", "wait": True, "timeout": 250},
    ),
}


def seeds_of(encoding: str) -> list[bytes]:
    """Every frame and body that a real client sends."""
    sent = load("sent")[encoding]
    return [QUEUE[encoding]] + [
        bytes.fromhex(data)
        for part in ("frames", "bodies")
        for variants in sent[part].values()
        for data in variants
    ]


SEEDS: Final = {encoding: seeds_of(encoding) for encoding in ENCODINGS}
# Bytes that mean something in one of the encodings.
TELLING: Final = bytes.fromhex(
    "00010204187f80829a9b9fa0b9bbbfc1c2c3d81bd840d8d90102f6f7f8fb5f7f5b2224"
)


def mutated(source: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few things done to it."""
    data = bytearray(source.choice(seeds))
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data) + 1)
        what = source.randrange(7)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << source.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = source.choice(TELLING)
        elif what == 2:
            data[at:at] = bytes([source.choice(TELLING)]) * source.choice((1, 1, 2, 9, 150))
        elif what == 3:
            del data[at : at + source.randint(1, 8)]
        elif what == 4:
            other = source.choice(seeds)
            data[at:at] = other[source.randrange(len(other)) :]
        elif what == 5:
            data[at:at] = data[source.randrange(len(data) + 1) :]
        else:
            data[at : at + 8] = source.randbytes(source.randrange(9))
    return bytes(data)


def look(value: Value, refused: WireError | None) -> None:
    """What an actor's side does with a value; only DecodeErrors are allowed."""
    if refused is None:
        with contextlib.suppress(DecodeError):
            payload.decode(value.data, value.encoding)


def take_body(codec: Codec, data: bytes) -> None:
    with contextlib.suppress(WireError):
        request = codec.decode_action_request(data)
        look(request.args, request.refused)


def take(codec: Codec, data: bytes) -> None:
    """Everything that is done with bytes of a client; only WireErrors are allowed."""
    with contextlib.suppress(WireError):
        message = codec.decode_to_server(data)
        if isinstance(message, ActionRequest):
            look(message.args, message.refused)
    take_body(codec, data)
    with contextlib.suppress(WireError):
        sent = codec.decode_queue_request(data)
        look(sent.body, sent.refused)


@pytest.mark.parametrize("encoding", ENCODINGS)
@relaxed
@given(seed=st.integers(0, 2**32))
def test_mutations_of_what_clients_send(encoding: str, seed: int) -> None:
    take(codec_for(encoding), mutated(random.Random(seed), SEEDS[encoding]))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_very_many_mutations(encoding: str) -> None:
    source = random.Random(f"mutations of {encoding}")
    codec = codec_for(encoding)
    for _ in range(300_000):
        take(codec, mutated(source, SEEDS[encoding]))


@pytest.mark.parametrize("encoding", ENCODINGS)
@relaxed
@given(data=st.binary(max_size=60))
def test_any_bytes(encoding: str, data: bytes) -> None:
    take(codec_for(encoding), data)
    take(codec_for(encoding), b"\x02\x00" + data)


def peak_of(run: Callable[[], object]) -> int:
    """Bytes that are in use at most while something runs."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


PROMISES: Final = {
    "array": "9bffffffffffffffff",
    "array32": "9affffffff",
    "map": "bbffffffffffffffff",
    "bytes": "5bffffffffffffffff",
    "text": "7bffffffffffffffff",
    "bytes in a tag": "d8405affffffff",
    "arrays in arrays": "9a00ffffff" * 90,
    "sets in sets": "d901029a00ffffff" * 40,
    "arrays without an end": "9f" * 90,
    "text without an end": "7f" + "6161" * 90,
}


@pytest.mark.parametrize("promise", PROMISES)
def test_promises_of_more_than_there_is_take_no_memory(promise: str) -> None:
    value = bytes.fromhex(PROMISES[promise])
    frames = {
        "cbor": bytes.fromhex("a16461726773") + value,
        "bare": schemas.write(schemas.HTTP_ACTION_REQUEST, 2, {"args": b"\x81" + value}),
    }
    for encoding, data in frames.items():
        codec = codec_for(encoding)
        assert peak_of(lambda codec=codec, data=data: take(codec, data)) < (4 << 20)  # type: ignore[misc]


@pytest.mark.parametrize(
    "args",
    [
        b"\x9a\x00\x00\x20\x00" + b"\x80" * 0x2000,
        b"\xd9\x01\x02\x9a\x00\x00\x20\x00" + b"\xa0" * 0x2000,
        b"\xc2\x59\x20\x00" + b"\xff" * 0x2000,
        b"\xd8\x44\x59\x20\x00" + b"\xff" * 0x2000,
    ],
    ids=["empty arrays", "a set of empty maps", "a bigint", "a typed array"],
)
def test_a_full_frame_takes_memory_in_proportion(args: bytes) -> None:
    body = schemas.write(schemas.HTTP_ACTION_REQUEST, 2, {"args": b"\x81" + args})
    for encoding, data in (("bare", body), ("cbor", bytes.fromhex("a16461726773") + args)):
        codec = codec_for(encoding)
        assert peak_of(lambda codec=codec, data=data: take_body(codec, data)) < 400 * len(body)  # type: ignore[misc]


@pytest.mark.parametrize("depth", [99, 101, 1000, 20_000])
def test_depth_is_bounded(depth: int) -> None:
    json_args = b"[" * depth + b'["$BigInt","5"]' + b"]" * depth
    cbor_args = b"\x81" * depth + b"\xf7"
    for encoding, data in (
        ("json", b'{"args":' + json_args + b"}"),
        ("cbor", b"\xa1\x64args" + cbor_args),
        ("bare", schemas.write(schemas.HTTP_ACTION_REQUEST, 4, {"args": cbor_args})),
    ):
        codec = codec_for(encoding)
        problem: WireError | None = None
        try:
            problem = codec.decode_action_request(data).refused
        except WireError as error:
            problem = error
        if depth > 100:
            assert problem is not None
            assert "nest" in str(problem)
        elif encoding != "cbor":  # the frame around the arguments counts there
            assert problem is None


PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "path": lambda text: parse_target("/gateway/" + text, "", DEFAULT_LIMITS),
    "query": lambda text: parse_target("/gateway/a/x", text, DEFAULT_LIMITS),
    "rvt": lambda text: parse_target(
        "/gateway/a", f"rvt-namespace=n&rvt-method=get&{text}", DEFAULT_LIMITS
    ),
    "rvt-input": lambda text: parse_target(
        "/gateway/a",
        f"rvt-namespace=n&rvt-method=getOrCreate&rvt-pool=p&rvt-input={text}",
        DEFAULT_LIMITS,
    ),
    "key": parse_key,
    "plain query": plain_query,
    "protocols": lambda text: parse_opening([text, "rivet_conn_params." + text], DEFAULT_LIMITS),
    "params": lambda text: parse_params_header(text, DEFAULT_LIMITS),
    "input": lambda text: parse_input(text, DEFAULT_LIMITS),
    "close reason": lambda text: close_reason(text, text, text),
}
telling = st.text(st.sampled_from("abz09%&=+#/@,.$\\ -_{}[]\"'é\udc80\0"), max_size=30)
pieces = st.lists(
    st.sampled_from(
        ["rvt-", "rvt-key=a,b", "rvt-token=t", "rvt-input=", "rivet_encoding.", "rivet", "%2F",
         "%ff", "%zz", "@t", "//", "&", "=", ",", "gwFjdHdv9g", "\\0", "\\"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@relaxed
@given(text=telling | pieces)
def test_any_text(parser: str, text: str) -> None:
    with contextlib.suppress(WireError):
        PARSERS[parser](text)
