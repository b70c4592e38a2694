"""The JSON of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

from holdfast_server.core.values import Value
from holdfast_server.gateway.wire.codec import Codec
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.messages import (
    ActionRequest,
    ActionResponse,
    Error,
    Event,
    HttpActionRequest,
    HttpActionResponse,
    HttpQueueSendRequest,
    HttpQueueSendResponse,
    HttpResponseError,
    SubscriptionRequest,
    ToClient,
    ToServer,
)
from holdfast_server.gateway.wire.tags import BIGINT
from holdfast_server.gateway.wire.values import (
    NO_ARGUMENTS,
    arguments_in_json,
    malformed,
    value_as_json,
    value_in_json,
)

T = TypeVar("T")
_ID_MAX = 2**64 - 1


class _Body(msgspec.Struct):
    tag: str
    val: msgspec.Raw


class _Frame(msgspec.Struct):
    body: _Body


class _ActionRequest(msgspec.Struct):
    id: Any
    name: str
    args: msgspec.Raw = msgspec.Raw(b"null")


class _SubscriptionRequest(msgspec.Struct, rename="camel"):
    event_name: str
    subscribe: bool


class _HttpActionRequest(msgspec.Struct):
    args: msgspec.Raw = msgspec.Raw(b"null")


class _HttpQueueSendRequest(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")
    name: str | None = None
    wait: bool | None = None
    timeout: float | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_ACTION = msgspec.json.Decoder(_ActionRequest)
_SUBSCRIPTION = msgspec.json.Decoder(_SubscriptionRequest)
_HTTP_ACTION = msgspec.json.Decoder(_HttpActionRequest)
_HTTP_QUEUE = msgspec.json.Decoder(_HttpQueueSendRequest)


@dataclass(frozen=True, slots=True)
class JsonCodec(Codec):
    """Text frames, and bodies that anything with a JSON library can write."""

    name: ClassVar[str] = "json"
    binary: ClassVar[bool] = False
    content_type: ClassVar[str] = "application/json"

    def decode_to_server(self, frame: bytes | str) -> ToServer:
        body = _decode(_FRAME, self._check_size(frame), "").body
        if body.tag == "ActionRequest":
            action = _decode(_ACTION, body.val, "body.val")
            args, refused = self._arguments(action.args, "body.val.args")
            return ActionRequest(
                action_id(action.id),
                self._check_name(action.name, "body.val.name"),
                args,
                refused,
            )
        if body.tag == "SubscriptionRequest":
            asked = _decode(_SUBSCRIPTION, body.val, "body.val")
            name = self._check_name(asked.event_name, "body.val.eventName")
            return SubscriptionRequest(name, asked.subscribe)
        raise WireError(f"unknown message {body.tag[:32]!r}", field="body.tag")

    def encode_to_client(self, message: ToClient) -> str:
        return msgspec.json.encode({"body": self._body(message)}).decode()

    def _body(self, message: ToClient) -> dict[str, Any]:
        val: dict[str, Any]
        if isinstance(message, ActionResponse):
            val = {"id": _tagged(message.id), "output": value_as_json(message.output, self.tagged)}
            return {"tag": "ActionResponse", "val": val}
        if isinstance(message, Event):
            val = {"name": message.name, "args": value_as_json(message.args, self.tagged)}
            return {"tag": "Event", "val": val}
        if isinstance(message, Error):
            val = self._error(message)
            val["actionId"] = None if message.action_id is None else _tagged(message.action_id)
            return {"tag": "Error", "val": val}
        val = {"actorId": message.actor_id, "connectionId": message.connection_id}
        return {"tag": "Init", "val": val}

    def _error(self, error: Error | HttpResponseError) -> dict[str, Any]:
        said: dict[str, Any] = {
            "group": error.group,
            "code": error.code,
            "message": error.message,
        }
        if error.metadata is not None:
            said["metadata"] = value_as_json(error.metadata, self.tagged)
        return said

    def decode_action_request(self, body: bytes) -> HttpActionRequest:
        if not body:
            return HttpActionRequest(NO_ARGUMENTS)  # `curl -X POST` sends none
        raw = _decode(_HTTP_ACTION, self._check_size(body), "").args
        return HttpActionRequest(*self._arguments(raw, "args"))

    def encode_action_response(self, response: HttpActionResponse) -> bytes:
        return msgspec.json.encode({"output": value_as_json(response.output, self.tagged)})

    def encode_error(self, error: HttpResponseError) -> bytes:
        return msgspec.json.encode(self._error(error))

    def decode_queue_request(self, body: bytes) -> HttpQueueSendRequest:
        sent = _decode(_HTTP_QUEUE, self._check_size(body), "")
        refused = None
        value = NO_ARGUMENTS
        try:
            value = value_in_json(bytes(sent.body), "body", self.limits)
        except WireError as error:
            refused = error
        timeout_ms = check_timeout(sent.timeout)
        return HttpQueueSendRequest(value, sent.name, bool(sent.wait), timeout_ms, refused)

    def encode_queue_response(self, response: HttpQueueSendResponse) -> bytes:
        said: dict[str, Any] = {"status": response.status}
        if response.response is not None:
            said["response"] = value_as_json(response.response, self.tagged)
        return msgspec.json.encode(said)

    def _arguments(self, raw: msgspec.Raw, field: str) -> tuple[Value, WireError | None]:
        try:
            return arguments_in_json(bytes(raw), field, self.limits), None
        except WireError as error:
            return NO_ARGUMENTS, error


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, field: str) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        place = field + path.rstrip("`")
        raise WireError(problem, field=place.lstrip(".")) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise malformed("JSON", error, field) from None


def _tagged(number: int) -> list[str]:
    """An id, which clients take as a bigint only."""
    return [BIGINT, str(number)]


def action_id(said: Any) -> int:
    """The id that a client gave an action: a bigint, or a number as some write it."""
    if type(said) is list and len(said) == 2 and said[0] == BIGINT:
        digits = said[1]
        said = int(digits) if type(digits) is str and digits.isascii() and digits.isdigit() else -1
    if type(said) is int and 0 <= said <= _ID_MAX:
        return said
    raise WireError("not an id: a bigint from 0 to 2^64 - 1", field="body.val.id", limit=_ID_MAX)


def check_timeout(said: float | int | None) -> int | None:
    """Whole milliseconds from 0 on."""
    if said is None:
        return None
    if type(said) is bool or not 0 <= said <= _ID_MAX:
        raise WireError("a number of milliseconds from 0", field="timeout")
    return int(said)


__all__ = ["JsonCodec", "action_id", "check_timeout"]
