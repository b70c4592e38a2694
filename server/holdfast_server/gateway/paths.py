"""The ways of naming an actor in a request: in its path, its query or its headers.

    /gateway/{actor id}[@{token}]{rest}                 the actor of this id
    /gateway/{name}{rest}?rvt-method=get&rvt-key=a,b    by name and key, made if wanted
    {rest} with x-rivet-target: actor, x-rivet-actor: {actor id}

Paths and queries are taken apart as they were sent: what belongs to the actor, the rest of
the path and of the query, is passed on byte for byte, and the `rvt-` parameters are no part
of it. Everything here is pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

# RivetKit's clients in browsers are configured with it by default.
BASE: Final = "/api/rivet"
_GATEWAY: Final = "/gateway/"
_PREFIX: Final = "rvt-"
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_METHODS: Final = frozenset({"get", "getOrCreate"})
_ALIASES: Final = {"rvt-pool": "rvt-runner"}
_KNOWN: Final = frozenset(
    {
        "rvt-namespace",
        "rvt-method",
        "rvt-runner",
        "rvt-key",
        "rvt-input",
        "rvt-region",
        "rvt-crash-policy",
        "rvt-token",
        "rvt-skip-ready-wait",
    }
)


@dataclass(frozen=True, slots=True)
class ById:
    """The actor of an id."""

    actor_id: str


@dataclass(frozen=True, slots=True)
class ByKey:
    """The actor of a name and key; `create` makes it from `input`, which is CBOR."""

    namespace: str
    name: str
    key: tuple[str, ...]
    create: bool = False
    input: bytes | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Whom a request is for, the path and query that the actor sees, and a token in it."""

    actor: ById | ByKey
    rest: str
    query: str
    token: str | None = None


def split_target(raw: str) -> tuple[str, str]:
    """The path and query of a request target as it was sent, without BASE."""
    path, _, query = raw.partition("?")
    if path == BASE or path.startswith(BASE + "/"):
        path = path[len(BASE) :] or "/"
    return path, query


def percent_decoded(text: str, field: str) -> str:
    """Percent-decoded text, where a plus is a plus."""
    if _PERCENT.search(text):
        raise _invalid("query_invalid", field, "is not percent-encoded")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("query_invalid", field, "is not UTF-8") from None


def query_pairs(query: str, *, plus: bool = False) -> list[tuple[str, str]]:
    """The parameters of a query, decoded; with `plus` a plus is a space, as in a form."""
    pairs = []
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((_decoded(name, "query", plus), _decoded(value, name[:64], plus)))
    return pairs


def path_route(path: str, query: str) -> Route | None:
    """The route in a path; None when it is none of the gateway's."""
    if not path.startswith(_GATEWAY) or "//" in path:
        return None
    segment, slash, rest = path[len(_GATEWAY) :].partition("/")
    if not segment:
        return None
    rest = slash + rest or "/"
    pieces = [(piece, _name_of(piece).startswith(_PREFIX)) for piece in query.split("&")]
    if any(ours for _, ours in pieces):
        parameters = _parameters([piece for piece, ours in pieces if ours])
        passed = "&".join(piece for piece, ours in pieces if not ours)
        return _query_route(segment, rest, passed, parameters)
    actor, at, token = segment.partition("@")
    return Route(
        ById(percent_decoded(actor, "actor_id")),
        rest,
        query,
        percent_decoded(token, "token") if at else None,
    )


def header_route(path: str, query: str, named: Mapping[str, str]) -> Route | None:
    """The route in headers, or in what a WebSocket offers in place of them: `target`,
    `actor` and `token`. None when there is none."""
    if named.get("target") is None:
        return None
    if named["target"] != "actor":
        raise _invalid("query_invalid", "x-rivet-target", "must be actor")
    actor = named.get("actor")
    if not actor:
        raise _invalid("missing_actor", "x-rivet-actor", "is required with x-rivet-target")
    return Route(ById(actor), path, query, named.get("token"))


def decode_input(text: str) -> bytes:
    """Bytes in base64url without padding."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("query_invalid", "rvt-input", "is not base64url") from None


def _query_route(segment: str, rest: str, query: str, given: Mapping[str, str]) -> Route:
    if "@" in segment:
        raise _invalid("query_invalid", "token", "belongs into rvt-token beside other rvt-")
    method = given.get("rvt-method")
    if method not in _METHODS:
        raise _invalid("query_invalid", "rvt-method", "must be get or getOrCreate")
    for name, wanted in (("rvt-namespace", True), ("rvt-runner", method == "getOrCreate")):
        if wanted and name not in given:
            raise _invalid("query_missing", name, "is required")
    create = method == "getOrCreate"
    if not create:
        for name in ("rvt-runner", "rvt-input", "rvt-region", "rvt-crash-policy"):
            if name in given:
                raise _invalid("query_invalid", name, "is only for getOrCreate")
    if given.get("rvt-skip-ready-wait", "0") not in ("true", "false", "1", "0"):
        raise _invalid("query_invalid", "rvt-skip-ready-wait", "must be true or false")
    key, encoded = given.get("rvt-key", ""), given.get("rvt-input")
    actor = ByKey(
        given["rvt-namespace"],
        percent_decoded(segment, "name"),
        tuple(key.split(",")) if key else (),
        create,
        None if encoded is None else decode_input(encoded),
    )
    return Route(actor, rest, query, given.get("rvt-token"))


def _parameters(pieces: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in query_pairs("&".join(pieces), plus=True):
        known = _ALIASES.get(name, name)
        if known not in _KNOWN:
            raise _invalid("query_unknown", name[:64], "is no parameter")
        if known in found:
            raise _invalid("query_duplicate", name, "is given twice")
        found[known] = value
    return found


def _name_of(piece: str) -> str:
    try:
        return _decoded(piece.partition("=")[0], "query", True)
    except HoldfastError:
        # The actor's own affair.
        return ""


def _decoded(text: str, field: str, plus: bool) -> str:
    return percent_decoded(text.replace("+", " ") if plus else text, field)


def _invalid(code: str, field: str, message: str) -> HoldfastError:
    return HoldfastError(
        errors.ROUTE_INVALID, f"{field}: {message}", code=code, metadata={"field": field}
    )
