"""What Hello settles for a whole session, and its commands as calls of the core.

The checks are those of the unary services, and so are their errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.core import errors
from holdfast_server.core.call import Call, CallKey, ClientKey, Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.events import Connect, Subscribe
from holdfast_server.core.ids import parse_actor_id
from holdfast_server.core.trace import NO_TRACE, TraceContext, parse
from holdfast_server.core.values import ENCODINGS, Encoding
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.events import slow_reader_of, start_of
from holdfast_server.rpc.session.resume import TOKEN_BYTES
from holdfast_server.rpc.session.streams import protocol_error

PROTOCOL: Final = 1
# Features of this server; a client names those that it needs.
FEATURES: Final[tuple[str, ...]] = ()
_CLIENT_ID_BYTES: Final = 16
_UNNAMED: Final = Target()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Who speaks, where, and how; `digest` is that of the resume token."""

    namespace: str
    client_id: bytes
    accept: int
    caller: bytes
    digest: bytes


def check_hello(frame: pb.OpenSessionRequest) -> pb.SessionHello:
    """The Hello that a session's first frame begins with."""
    first = frame.commands[0] if frame.commands else None
    if first is None or first.WhichOneof("command") != "hello":
        raise protocol_error("hello", "is the first command of a session")
    hello = first.hello
    if first.stream:
        raise protocol_error("hello", f"is for stream 0, not {first.stream}")
    if hello.protocol != PROTOCOL:
        raise protocol_error(
            "hello.protocol", f"is {hello.protocol}; this server speaks {PROTOCOL}", limit=PROTOCOL
        )
    for feature in hello.features:
        if feature not in FEATURES:
            raise HoldfastError(
                errors.SESSION_FEATURE_UNKNOWN,
                f"hello.features: this server does not have {feature[:64]!r}",
                metadata={"field": "hello.features", "feature": feature[:64]},
            )
    if len(hello.client_id) not in (0, _CLIENT_ID_BYTES):
        raise protocol_error(
            "hello.client_id",
            f"has {len(hello.client_id)} bytes, not {_CLIENT_ID_BYTES}",
            limit=_CLIENT_ID_BYTES,
        )
    if len(hello.resume_token) not in (0, TOKEN_BYTES):
        raise protocol_error(
            "hello.resume_token",
            f"has {len(hello.resume_token)} bytes, not {TOKEN_BYTES}",
            limit=TOKEN_BYTES,
        )
    if hello.accept_encoding and hello.accept_encoding not in ENCODINGS:
        raise protocol_error("hello.accept_encoding", f"{hello.accept_encoding} is no encoding")
    return hello


def encoding_of(hello: pb.SessionHello) -> int:
    return hello.accept_encoding or int(Encoding.MSGPACK)


def call_of(said: pb.SessionCall, terms: Terms, convert: Converter, now: float) -> Call:
    """The Call of a SessionCall; one on a connection gets its target from there."""
    action = said.action
    if not action:
        raise invalid("action", "is required")
    if said.connection:
        target = _UNNAMED
        if said.HasField("target") or said.HasField("params"):
            raise invalid("connection", "not together with target or params")
    else:
        target = convert.known_target(terms.namespace, said.target)
    return Call(
        target=target,
        action=action,
        args=convert.arguments(said.args, "args"),
        kwargs=convert.arguments(said.kwargs, "kwargs") if said.HasField("kwargs") else None,
        accept=convert.accept(said.accept_encoding) or terms.accept,
        key=_key(said, terms, convert),
        deadline=deadline_of(said.timeout_ms, now),
        trace=parse(parent, said.tracestate) if (parent := said.traceparent) else NO_TRACE,
        params=convert.params(said.params) if said.HasField("params") else None,
    )


def connect_of(
    said: pb.SessionConnect, terms: Terms, convert: Converter, window: int, now: float
) -> Connect:
    """The Connect of a SessionConnect."""
    resume = said.resume_connection_id
    if said.received_message and not resume:
        raise invalid("received_message", "needs resume_connection_id")
    return Connect(
        target=convert.target(terms.namespace, said.target),
        params=convert.params(said.params),
        session=terms.digest,
        encoding=convert.accept(said.accept_encoding) or terms.accept,
        window_bytes=window,
        resume=parse_actor_id(resume, "resume_connection_id") if resume else None,
        received=said.received_message,
        deadline=deadline_of(said.timeout_ms, now),
        trace=trace_of(said.traceparent, said.tracestate),
    )


def subscribe_of(
    said: pb.SessionSubscribe, terms: Terms, convert: Converter, window: int
) -> Subscribe:
    """The Subscribe of a SessionSubscribe; one of a connection gets its target from there."""
    if not said.connection:
        target = convert.target(terms.namespace, said.target)
    elif said.HasField("target"):
        raise invalid("connection", "not together with target")
    else:
        target = _UNNAMED
    return Subscribe(
        target=target,
        names=frozenset(said.names),
        start=start_of(said),
        encoding=convert.accept(said.accept_encoding) or terms.accept,
        slow_reader=slow_reader_of(said),
        window_bytes=window,
    )


def deadline_of(timeout_ms: int, now: float) -> float | None:
    return now + timeout_ms / 1000 if timeout_ms else None


def trace_of(parent: str, state: str) -> TraceContext:
    return parse(parent, state) if parent else NO_TRACE


def _key(said: pb.SessionCall, terms: Terms, convert: Converter) -> CallKey | None:
    own, number = said.idempotency_key, said.number
    if own:
        if number:
            raise invalid("idempotency_key", "not together with number")
        return convert.user_key(own, terms.caller)
    if not number:
        return None
    if not terms.client_id:
        raise invalid("number", "needs the client_id of hello, which gave none")
    below = said.acknowledged_below
    if below > number:
        raise invalid("acknowledged_below", "must not be above number")
    return ClientKey(terms.client_id, number, below)
