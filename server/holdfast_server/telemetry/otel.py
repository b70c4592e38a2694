"""Spans of RPCs, turns and commits, made with OpenTelemetry.

Imported only where tracing is configured. A span is made where its trace is
sampled; elsewhere a turn gets a stand-in that only passes the decision on.
Parents are always given, never taken from the context that happens to be
current: a turn runs in the task of whoever called it. Keys are left out unless
`keys` is set; arguments, results and texts of errors never get into a span.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from typing import Final, cast
from urllib.parse import unquote

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, format_actor_id
from holdfast_server.core.trace import Cause, TraceContext
from holdfast_server.telemetry import names
from holdfast_server.telemetry.observer import ObservedTurn, Observer, RpcSpan

_ROOT: Final = Context()
# Statuses for which, by the conventions, the server is to blame.
_SERVER_ERRORS: Final = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)
# Of these the type of the exception tells more than the reason.
_BUGS: Final = (errors.INTERNAL_ERROR, errors.ACTOR_START_FAILED)


class SpanMaker:
    """Makes spans below parents that came as text."""

    __slots__ = ("_parent_decides", "_tracer")

    def __init__(self, tracer: Tracer, *, parent_decides: bool) -> None:
        self._tracer = tracer
        # Whether nothing below a parent that is not sampled ever is.
        self._parent_decides = parent_decides

    def decided(self, parent: SpanContext | None) -> bool:
        """Whether it is certain that nothing below `parent` is sampled."""
        return parent is not None and self._parent_decides and not parent.trace_flags.sampled

    def begin(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: Mapping[str, str | int | float],
        links: list[Link] | None = None,
    ) -> Span:
        """A span below `parent`, or at the root; not recording where not sampled."""
        context = _ROOT
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), _ROOT)
        return self._tracer.start_span(
            name, context=context, kind=kind, attributes=attributes, links=links
        )

    def begin_below(self, name: str, span: Span, attributes: dict[str, str | int]) -> Span:
        """A span below one of this process."""
        context = set_span_in_context(span, _ROOT)
        return self._tracer.start_span(name, context=context, attributes=attributes)


class OtelObserver(Observer):
    """Spans of turns and commits; `turn.span` is the OpenTelemetry span."""

    __slots__ = ("_keys", "_maker")

    def __init__(self, maker: SpanMaker, *, keys: bool) -> None:
        self._maker = maker
        self._keys = keys

    def turn_began(self, turn: ObservedTurn) -> None:
        cause = turn.cause
        origin = _span_context(turn.trace, remote=cause is not Cause.CALL)
        # A turn of its own may come any time after the one that its code was started
        # in, and again and again, as may that of a timer: it begins a trace, which a
        # link ties to the other.
        parent = None if cause in (Cause.SPAWN, Cause.TIMER) else origin
        if parent is not None and self._maker.decided(parent):
            turn.span = NonRecordingSpan(parent)
            return
        links = None
        if origin is not None and cause is not Cause.CALL:
            links = [Link(origin, {names.LINK_KIND: cause.value})]
        address = turn.address
        span = self._maker.begin(
            f"turn {address.name}/{turn.action}",
            SpanKind.INTERNAL,
            parent,
            {
                names.NAMESPACE: address.namespace,
                names.ACTOR_NAME: address.name,
                names.ACTION: turn.action,
                names.TURN_CAUSE: cause.value,
                names.TURN_WAIT_S: 0.0,
            },
            links,
        )
        turn.span, turn.trace = span, _trace_context(span.get_span_context())

    def turn_failed(self, turn: ObservedTurn, error: BaseException) -> None:
        _blame(_span_of(turn), error)

    def turn_ended(self, turn: ObservedTurn) -> None:
        span = _span_of(turn)
        if not span.is_recording():
            return
        found: dict[str, str | bool | list[str]] = {names.TURN_MODE: turn.mode.name.lower()}
        if turn.actor_id:
            found[names.ACTOR_ID] = format_actor_id(turn.actor_id)
        if turn.creating:
            found[names.TURN_CREATES] = True
        if self._keys:
            found[names.ACTOR_KEY] = list(turn.address.key)
        span.set_attributes(found)
        span.end()

    def work_failed(self, address: Address, work: str, error: BaseException) -> None:
        span = self._maker.begin(
            f"{work} {address.name}",
            SpanKind.INTERNAL,
            None,
            {names.NAMESPACE: address.namespace, names.ACTOR_NAME: address.name},
        )
        if self._keys:
            span.set_attribute(names.ACTOR_KEY, list(address.key))
        _blame(span, error)
        span.end()

    def turn_admitted(self, turn: ObservedTurn, waited_s: float) -> None:
        span = _span_of(turn)
        span.add_event("admitted")
        span.set_attribute(names.TURN_WAIT_S, waited_s)

    def turn_entered(self, turn: ObservedTurn) -> object:
        return attach(set_span_in_context(_span_of(turn)))

    def turn_left(self, turn: ObservedTurn, entered: object) -> None:
        detach(cast("Token[Context]", entered))

    def passed_on(self, turn: ObservedTurn) -> TraceContext:
        current = get_current_span().get_span_context()
        if current.trace_id != _span_of(turn).get_span_context().trace_id:
            return turn.trace
        # The turn's own span, or one that its code has opened below.
        return _trace_context(current)

    def commit_began(self, turn: ObservedTurn, writes: int, size: int) -> object:
        span = _span_of(turn)
        # It may have ended: a failed turn stores its error when it has left its actor.
        if not span.get_span_context().trace_flags.sampled:
            return None
        name = turn.address.name
        return self._maker.begin_below(
            f"commit {name}",
            span,
            {names.ACTOR_NAME: name, names.COMMIT_WRITES: writes, names.COMMIT_BYTES: size},
        )

    def commit_ended(self, commit: object, group: int, error: BaseException | None) -> None:
        span = cast(Span, commit)
        if error is None:
            span.set_attribute(names.COMMIT_GROUP, group)
        else:
            _blame(span, error)
        span.end()


class OtelRpcObserver:
    """Spans of RPCs of one system, as OpenTelemetry names it."""

    def __init__(self, maker: SpanMaker, system: str) -> None:
        self._maker = maker
        self._server: dict[str, str | int] = {names.RPC_SYSTEM_NAME: system}

    def listens(self, address: str, port: int) -> None:
        """Where this server is reached."""
        self._server |= {names.SERVER_ADDRESS: address, names.SERVER_PORT: port}

    def rpc_began(self, method: str, trace: TraceContext, peer: str) -> RpcSpan | None:
        parent = _span_context(trace, remote=True)
        if self._maker.decided(parent):
            return None
        name = method[1:]
        attributes = {**self._server, names.RPC_METHOD: name, **_client(peer)}
        return OtelRpcSpan(self._maker.begin(name, SpanKind.SERVER, parent, attributes))


class OtelRpcSpan:
    """RpcSpan over an OpenTelemetry span."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace = _trace_context(span.get_span_context())

    def ended(self, status: str, *, replayed: bool = False) -> None:
        span = self._span
        span.set_attribute(names.RPC_RESPONSE_STATUS_CODE, status)
        if status in _SERVER_ERRORS:
            span.set_attribute(names.ERROR_TYPE, status)
            span.set_status(StatusCode.ERROR)
        if replayed:
            span.set_attribute(names.REPLAYED, True)
        span.end()


def _span_of(turn: ObservedTurn) -> Span:
    return cast(Span, turn.span)


def _blame(span: Span, error: BaseException) -> None:
    """Say by what name a span failed; not its text, which may hold what users wrote."""
    if not isinstance(error, HoldfastError):
        span.set_status(StatusCode.ERROR)
        span.set_attribute(names.ERROR_TYPE, _type_name(error))
        return
    code = f"{error.group}.{error.code}"
    span.set_status(StatusCode.ERROR, code)
    span.set_attributes({names.ERROR_TYPE: error.reason.reason, names.ERROR_CODE: code})
    cause = error.__cause__ or error.__context__
    if error.reason in _BUGS and cause is not None:
        span.add_event("exception", {names.EXCEPTION_TYPE: _type_name(cause)})


def _type_name(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def _span_context(trace: TraceContext, *, remote: bool) -> SpanContext | None:
    parent = trace.parent
    if not parent:
        return None
    return SpanContext(
        int(parent[3:35], 16),
        int(parent[36:52], 16),
        is_remote=remote,
        trace_flags=TraceFlags(int(parent[53:55], 16)),
        trace_state=TraceState.from_header([trace.state]) if trace.state else None,
    )


def _trace_context(context: SpanContext) -> TraceContext:
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return TraceContext(parent, context.trace_state.to_header() if context.trace_state else "")


def _client(peer: str) -> dict[str, str | int]:
    """Address and port in what gRPC calls a peer: ipv4:127.0.0.1:41732."""
    kind, _, rest = peer.partition(":")
    address, _, port = unquote(rest).rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return {}
    return {names.CLIENT_ADDRESS: address.strip("[]"), names.CLIENT_PORT: int(port)}
