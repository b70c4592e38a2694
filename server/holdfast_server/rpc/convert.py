"""Between protos and the core: requests to calls, answers to responses, errors
to google.rpc.Status. The only mapping of the catalogue to gRPC codes is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from holdfast.v1 import actor_pb2, payload_pb2
from holdfast_server.core import errors
from holdfast_server.core.auth import Identity
from holdfast_server.core.call import Call, CallKey, ClientKey, Target, UserKey
from holdfast_server.core.checks import DEFAULT_NAMESPACE, check_size, known_namespace
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import Address, check_key, check_name, format_actor_id, parse_actor_id
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import ENCODINGS, Value
from holdfast_server.rpc.auth import Identify, admitted, refusal
from holdfast_server.rpc.trace import trace_of

_CODES = {code.name: code for code in grpc.StatusCode}
# Implementations of gRPC refuse more than 8 KiB of headers by default, and the caller would
# see that refusal instead of the error. Cut, an error takes at most 6.5 KiB.
_HEADER_BYTES_MAX = 7 << 10
_CUT_MESSAGE_BYTES = 800
_CUT_VALUE_BYTES = 300
# Targets that are remembered, and what they have at most on the wire.
_TARGETS_KEPT = 2048
_KEPT_BYTES_MAX = 256
Context = grpc.aio.ServicerContext[Any, Any]


class Keyed(Protocol):
    """A mutating request."""

    @property
    def idempotency_key(self) -> str: ...
    @property
    def client_sequence(self) -> actor_pb2.ClientSequence: ...
    def HasField(self, field_name: Any) -> bool: ...


class Converter:
    """Checks and converts requests under the server's limits.

    `identify` tells who calls, to whom a key of their own belongs; `time` is the loop's,
    in which deadlines are.
    """

    def __init__(
        self,
        limits: Limits,
        namespaces: frozenset[str],
        identify: Identify,
        time: Callable[[], float],
    ) -> None:
        self._time = time
        self._limits = limits
        self._known = lru_cache(_TARGETS_KEPT)(self._parse_target)
        self._namespaces = namespaces
        self._identify = identify

    def namespace(self, name: str) -> str:
        """The namespace that a request names, if its caller may use it."""
        admission = admitted()
        if admission is not None:
            admission.check_namespace(name or DEFAULT_NAMESPACE)
        return known_namespace(name, self._namespaces)

    def address(self, namespace: str, actor: actor_pb2.ActorKey, field: str) -> Address:
        check_name(actor.name, f"{field}.name")
        return Address(self.namespace(namespace), actor.name, self.key(actor.key, f"{field}.key"))

    def key(self, parts: Sequence[str], field: str) -> tuple[str, ...]:
        key = tuple(parts)
        check_key(key, field, self._limits)
        return key

    def target(
        self, namespace: str, target: actor_pb2.ActorTarget, *, create: bool = True
    ) -> Target:
        which = target.WhichOneof("target")
        if which is None:
            raise invalid("target", "one of actor_id, get and get_or_create is required")
        if which == "actor_id":
            return Target(
                actor_id=parse_actor_id(target.actor_id, "target.actor_id"),
                namespace=self.namespace(namespace),
            )
        if which == "get_or_create" and not create:
            raise invalid("target.get_or_create", "is not allowed here; use get")
        actor = target.get if which == "get" else target.get_or_create
        given = None
        if target.HasField("input"):
            given = self.value(target.input, "target.input", self._limits.input_bytes_max)
        return Target(
            address=self.address(namespace, actor, f"target.{which}"),
            create=which == "get_or_create",
            input=given,
        )

    def known_target(self, namespace: str, target: actor_pb2.ActorTarget) -> Target:
        """The same, remembered by its bytes: most clients name the same actors again and
        again, and to name one takes ten fields."""
        data = target.SerializeToString()
        if len(data) > _KEPT_BYTES_MAX:
            return self.target(namespace, target)
        return self._known(namespace, data)

    def _parse_target(self, namespace: str, data: bytes) -> Target:
        return self.target(namespace, actor_pb2.ActorTarget.FromString(data))

    def value(self, payload: payload_pb2.Payload, field: str, limit: int) -> Value | None:
        encoding, data = payload.encoding, payload.data
        if not data and not encoding:
            return None
        if encoding not in ENCODINGS:
            raise HoldfastError(
                errors.ENCODING_INVALID,
                f"{field}.encoding: {encoding} is not an encoding",
                metadata={"field": f"{field}.encoding"},
            )
        if len(data) > limit:
            check_size(field, len(data), limit)
        return Value(encoding, data)

    def arguments(self, payload: payload_pb2.Payload, field: str) -> Value | None:
        return self.value(payload, field, self._limits.payload_bytes_max)

    def accept(self, encoding: int) -> int:
        if encoding and encoding not in ENCODINGS:
            raise HoldfastError(
                errors.ENCODING_INVALID, f"accept_encoding: {encoding} is not an encoding"
            )
        return encoding

    def idempotency(self, request: Keyed, context: Context) -> CallKey | None:
        own, numbered = request.idempotency_key, request.HasField("client_sequence")
        if own and numbered:
            raise invalid("idempotency_key", "not together with client_sequence")
        if own:
            return self.user_key(own, self.owner(context))
        if not numbered:
            return None
        sequence = request.client_sequence
        client_id, number, below = (
            sequence.client_id,
            sequence.number,
            sequence.acknowledged_below,
        )
        if len(client_id) != 16:
            raise invalid("client_sequence.client_id", "must have 16 bytes", limit=16)
        if number < 1:
            raise invalid("client_sequence.number", "must be at least 1")
        if below > number:
            raise invalid("client_sequence.acknowledged_below", "must not be above number")
        return ClientKey(client_id, number, below)

    def user_key(self, own: str, caller: bytes) -> UserKey:
        """A key that a caller gave to a call."""
        limit = self._limits.idempotency_key_bytes_max
        size = len(own.encode())
        if size > limit:
            raise invalid("idempotency_key", f"has {size} bytes", limit=limit)
        return UserKey(caller, own)

    def identity(self, context: Context) -> Identity:
        """Who calls."""
        return self._identify(context)

    def owner(self, context: Context) -> bytes:
        """The 16 bytes of who calls; UNAUTHENTICATED where nothing can belong to them."""
        caller = self._identify(context).caller
        if not caller:
            raise refusal()
        return caller

    def deadline(self, context: Context) -> float | None:
        """The caller's deadline in the loop's time."""
        left = context.time_remaining()
        return None if left is None else self._time() + left

    def call(self, request: Any, context: Context) -> Call:
        """The Call of an InvokeActionRequest or StreamActionRequest."""
        if not request.action:
            raise invalid("action", "is required")
        return Call(
            target=self.target(request.namespace, request.target),
            action=request.action,
            args=self.arguments(request.args, "args"),
            kwargs=self.arguments(request.kwargs, "kwargs") if request.HasField("kwargs") else None,
            accept=self.accept(request.accept_encoding),
            key=self.idempotency(request, context),
            deadline=self.deadline(context),
            trace=trace_of(context),
            params=self.params(request.params) if request.HasField("params") else None,
            auth=self._identify(context),
        )

    def params(self, payload: payload_pb2.Payload) -> Value | None:
        """The parameters of a connection."""
        return self.value(payload, "params", self._limits.params_bytes_max)


def payload_of(value: Value) -> payload_pb2.Payload:
    return payload_pb2.Payload(encoding=value.encoding, data=value.data)  # type: ignore[arg-type]


def fill_payload(message: Any, value: Value) -> None:
    """The same, into a message that is already part of another."""
    message.encoding = value.encoding
    message.data = value.data


def actor_of(actor_id: bytes, record: Any) -> actor_pb2.Actor:
    created = timestamp_pb2.Timestamp()
    created.FromMilliseconds(record.created_at_ms)
    return actor_pb2.Actor(
        actor_id=format_actor_id(actor_id),
        name=record.name,
        key=record.key,
        namespace=record.namespace,
        created_at=created,
    )


def status_of(
    error: HoldfastError, retry_after_s: float | None = None
) -> tuple[grpc.StatusCode, str, bytes]:
    """Code, message and serialized google.rpc.Status of a failure; cut short to fit in headers.

    With RetryInfo unless `retry_after_s` is None.
    """
    code = _CODES[error.reason.status]
    metadata = {"group": error.group, "code": error.code, **error.metadata}
    if error.user_metadata_json is not None:
        metadata["metadata_json"] = error.user_metadata_json.decode("utf-8")
    message = error.message
    details = _details(error.reason, message, metadata, retry_after_s)
    if _header_bytes(message, details) > _HEADER_BYTES_MAX:
        metadata.pop("metadata_json", None)
        metadata = {key: _cut(value, _CUT_VALUE_BYTES) for key, value in metadata.items()}
        metadata["truncated"] = "true"
        message = _cut(message, _CUT_MESSAGE_BYTES)
        details = _details(error.reason, message, metadata, retry_after_s)
    return code, message, details


def _details(
    reason: errors.Reason, message: str, metadata: dict[str, str], retry_after_s: float | None
) -> bytes:
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=reason.reason, domain=errors.DOMAIN, metadata=metadata)
    ]
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if reason is errors.REQUEST_INVALID:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=metadata.get("field", ""), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    status = status_pb2.Status(code=_CODES[reason.status].value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        # Maps have no order of their own, and a replayed failure must have the same
        # bytes, also from another process.
        packed.Pack(detail, deterministic=True)
        status.details.append(packed)
    data: bytes = status.SerializeToString()
    return data


def _header_bytes(message: str, details: bytes) -> int:
    """What an error takes in the trailers: the message percent-encoded, the details in base64."""
    text = message.encode("utf-8", "replace")
    plain = sum(32 <= byte < 127 and byte != 37 for byte in text)
    return 3 * len(text) - 2 * plain + (len(details) + 2) // 3 * 4


def _cut(text: str, bytes_max: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return text
    return data[: bytes_max - 3].decode("utf-8", "ignore") + "…"
