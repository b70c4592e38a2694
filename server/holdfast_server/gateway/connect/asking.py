"""What a request says of itself in the Connect protocol: headers, and the query of a GET."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from multidict import CIMultiDictProxy

from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.gateway.connect.messages import ENCODINGS, Coding, coding_of
from holdfast_server.runtime.procedures import Metadata

Headers = CIMultiDictProxy[str]

UNARY: Final = "application/"
STREAM: Final = "application/connect+"

_VERSION: Final = "1"
_TIMEOUT: Final = re.compile(r"\d{1,10}\Z", re.ASCII)
_UTF8: Final = re.compile(r'charset="?utf-?8"?\Z', re.IGNORECASE)
_BINARY: Final = "-bin"
_PARAMETERS_MAX: Final = 32
_PLAIN: Final = str.maketrans("-_", "+/")


class WrongType(Exception):
    """The content type is none of the RPC's; `accepted` are those that are."""

    def __init__(self, error: HoldfastError, accepted: Iterable[str]) -> None:
        self.error = error
        self.accepted = ", ".join(accepted)
        super().__init__(str(error))


def content_encoding(headers: Headers, *, streams: bool) -> str:
    """The encoding that a content type names; WrongType."""
    prefix = STREAM if streams else UNARY
    given = headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    parameters = parameters.strip()
    if kind.startswith(prefix) and (not parameters or _UTF8.match(parameters)):
        encoding = kind[len(prefix) :]
        if encoding in ENCODINGS:
            return encoding
    accepted = [prefix + each for each in ENCODINGS]
    error = invalid("content-type", f"is {given[:64]!r}; this RPC takes {' and '.join(accepted)}")
    raise WrongType(error, accepted)


def stream_encoding(headers: Headers) -> str | None:
    """The encoding of what asks to be answered as a stream; None of what does not."""
    try:
        return content_encoding(headers, streams=True)
    except WrongType:
        return None


def check_version(headers: Headers) -> None:
    """REQUEST_INVALID for another version of the protocol than ours."""
    version = headers.get("connect-protocol-version", _VERSION)
    if version != _VERSION:
        raise invalid("connect-protocol-version", f"is {version[:32]!r}; this server has 1")


def timeout_s(headers: Headers) -> float | None:
    """How long the caller waits, in seconds; None for ever."""
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not _TIMEOUT.match(text):
        raise invalid("connect-timeout-ms", f"is {text[:32]!r}; it has 1 to 10 digits")
    return int(text) / 1000


def coding(headers: Headers, *, streams: bool) -> Coding:
    """How messages are compressed."""
    prefix = "connect-" if streams else ""
    name = f"{prefix}content-encoding"
    return coding_of(headers.get(name), headers.getall(f"{prefix}accept-encoding", ()), name)


def metadata(headers: Headers) -> Metadata:
    """The headers as RPCs have them."""
    return tuple((name.lower(), _value(name.lower(), value)) for name, value in headers.items())


def _value(name: str, value: str) -> str | bytes:
    return _from_base64(value, name) if name.endswith(_BINARY) else value


class Query(NamedTuple):
    """The message of a GET."""

    encoding: str
    data: bytes
    coding: Coding


def query_of(text: str, headers: Headers) -> Query:
    """The request that a query is; WrongType for an encoding that we have not."""
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX
        )
    except ValueError:
        raise invalid("query", "is malformed, or has too many parameters") from None
    asked = dict(pairs)
    if len(asked) != len(pairs):
        raise invalid("query", "has a parameter twice")
    if asked.get("connect", "v1") != "v1":
        raise invalid("connect", f"is {asked['connect'][:32]!r}; this server has v1")
    encoding, message = asked.get("encoding"), asked.get("message")
    if encoding is None or message is None:
        raise invalid("query", "needs encoding and message")
    if encoding not in ENCODINGS:
        error = invalid("encoding", f"is {encoding[:32]!r}; there is {' and '.join(ENCODINGS)}")
        raise WrongType(error, [UNARY + each for each in ENCODINGS])
    if asked.get("base64") == "1":
        data = _from_base64(message, "message")
    else:
        data = message.encode("utf-8")
    accepted = headers.getall("accept-encoding", ())
    return Query(encoding, data, coding_of(asked.get("compression"), accepted, "compression"))


def _from_base64(text: str, field: str) -> bytes:
    """The bytes in either alphabet of base64, padded or not."""
    plain = text.translate(_PLAIN).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(field, "is not base64") from None
