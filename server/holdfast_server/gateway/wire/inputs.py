"""Inputs of new actors and parameters of connections, as clients send them beside a call."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.limits import WireLimits
from holdfast_server.gateway.wire.queries import unquote
from holdfast_server.gateway.wire.values import input_in_cbor, parse_json

_BASE64URL: Final = re.compile(r"[0-9A-Za-z_-]*\Z")


def parse_input(text: str, limits: WireLimits, field: str = "input") -> Value:
    """The input in the body of a call that creates: CBOR in base64."""
    _check_length(text, limits, field)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WireError("not base64", field=field) from None
    return input_in_cbor(data, field, limits)


def parse_query_input(text: str, limits: WireLimits, field: str = "rvt-input") -> Value:
    """The input in a query: CBOR in base64 as URLs spell it, without padding."""
    _check_length(text, limits, field)
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise WireError("not base64url", field=field, code="query_invalid_base64_input")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    try:
        return input_in_cbor(data, field, limits)
    except WireError as error:
        raise WireError(
            error.problem,
            field=error.field,
            offset=error.offset,
            limit=error.limit,
            code="query_invalid_cbor_input",
        ) from None


def _check_length(text: str, limits: WireLimits, field: str) -> None:
    limit = limits.input_bytes_max
    size = len(text) * 3 // 4
    if size > limit:
        raise WireError(f"{size} bytes; at most {limit}", field=field, limit=limit)


def parse_params_header(text: str, limits: WireLimits) -> Value:
    """Connection parameters as the header x-rivet-conn-params has them: JSON.

    `text` is the header as HTTP libraries give it: UTF-8, with what is none escaped as
    surrogates. Browsers and Node write the letters of Latin-1 as a byte each.
    """
    field = "x-rivet-conn-params"
    data = text.encode("utf-8", "surrogateescape")
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("latin-1").encode()
    return _params(data, limits, field)


def parse_params_protocol(text: str, limits: WireLimits) -> Value:
    """Connection parameters as a WebSocket's subprotocol has them: JSON, percent-encoded."""
    field = "rivet_conn_params"
    return _params(unquote(text, field).encode(), limits, field)


def _params(data: bytes, limits: WireLimits, field: str) -> Value:
    limit = limits.params_bytes_max
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes; at most {limit}", field=field, limit=limit)
    parse_json(data, field)
    return Value(Encoding.JSON, data)


__all__ = ["parse_input", "parse_params_header", "parse_params_protocol", "parse_query_input"]
