"""The wire in CBOR, as a JavaScript library writes and reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from holdfast._cbor import dumps
from holdfast._from_javascript import settle
from holdfast_server.core.values import Value
from holdfast_server.gateway.wire.codec import Codec
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.ids import check_id, check_timeout
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
from holdfast_server.gateway.wire.values import (
    arguments_of_items,
    item_value,
    or_refused,
    packed,
    parse_cbor,
    value_as_cbor,
)

T = TypeVar("T")
_ID_HEAD = b"\x1b"  # a bigint is eight bytes, however small it is
_NULL = b"\xf6"


@dataclass(frozen=True, slots=True)
class CborCodec(Codec):
    """Binary frames that are one CBOR map each.

    Clients from 2.3 on tag no values in what they send in this encoding, but look for tags
    in what they are sent.
    """

    name: ClassVar[str] = "cbor"
    binary: ClassVar[bool] = True
    content_type: ClassVar[str] = "application/octet-stream"

    def decode_to_server(self, frame: bytes | str) -> ToServer:
        body = self._member(self._parse(self._check_binary(frame)), "body", dict, "")
        tag = self._member(body, "tag", str, "body.")
        val = self._member(body, "val", dict, "body.")
        if tag == "ActionRequest":
            said = item_value(val.get("id"), "body.val.id", self.limits)
            name = self._member(val, "name", str, "body.val.")
            args, refused = self._arguments(val, "body.val.args")
            return ActionRequest(
                check_id(said, "body.val.id"),
                self._check_name(name, "body.val.name"),
                args,
                refused,
            )
        if tag == "SubscriptionRequest":
            name = self._member(val, "eventName", str, "body.val.")
            subscribe = self._member(val, "subscribe", bool, "body.val.")
            return SubscriptionRequest(self._check_name(name, "body.val.eventName"), subscribe)
        raise WireError(f"unknown message {tag[:32]!r}", field="body.tag")

    def encode_to_client(self, message: ToClient) -> bytes:
        tag, val = self._body(message)
        return _map(body=_map(tag=dumps(tag), val=val))

    def _body(self, message: ToClient) -> tuple[str, bytes]:
        if isinstance(message, ActionResponse):
            output = value_as_cbor(message.output, self.tagged)
            return "ActionResponse", _map(id=_id(message.id), output=output)
        if isinstance(message, Event):
            args = value_as_cbor(message.args, self.tagged)
            return "Event", _map(name=dumps(message.name), args=args)
        if isinstance(message, Error):
            number = _NULL if message.action_id is None else _id(message.action_id)
            return "Error", _map(**self._error(message), actionId=number)
        return "Init", dumps({"actorId": message.actor_id, "connectionId": message.connection_id})

    def _error(self, error: Error | HttpResponseError) -> dict[str, bytes]:
        said = {
            "group": dumps(error.group),
            "code": dumps(error.code),
            "message": dumps(error.message),
        }
        if error.metadata is not None:
            said["metadata"] = value_as_cbor(error.metadata, self.tagged)
        return said

    def decode_action_request(self, body: bytes) -> HttpActionRequest:
        said = self._parse(self._check_size(body))
        return HttpActionRequest(*self._arguments(said, "args"))

    def encode_action_response(self, response: HttpActionResponse) -> bytes:
        return _map(output=value_as_cbor(response.output, self.tagged))

    def encode_error(self, error: HttpResponseError) -> bytes:
        return _map(**self._error(error))

    def decode_queue_request(self, body: bytes) -> HttpQueueSendRequest:
        said = self._parse(self._check_size(body))
        value, refused = or_refused(
            lambda: packed(settle(item_value(said.get("body"), "body", self.limits)))
        )
        name = self._optional(said, "name", str)
        wait = self._optional(said, "wait", bool)
        timeout_ms = check_timeout(self._plain(said, "timeout"), "timeout")
        return HttpQueueSendRequest(value, name, bool(wait), timeout_ms, refused)

    def encode_queue_response(self, response: HttpQueueSendResponse) -> bytes:
        said = {"status": dumps(response.status)}
        if response.response is not None:
            said["response"] = value_as_cbor(response.response, self.tagged)
        return _map(**said)

    def _parse(self, data: bytes) -> dict[Any, Any]:
        items = parse_cbor(data, "", self.limits)
        if not isinstance(items, dict):
            raise WireError(f"a map, not {type(items).__name__}")
        return items

    def _member(self, items: dict[Any, Any], name: str, kind: type[T], prefix: str) -> T:
        item = items.get(name)
        if not isinstance(item, kind):
            problem = "missing" if item is None else f"not of type {kind.__name__}"
            raise WireError(problem, field=prefix + name)
        return item

    def _plain(self, items: dict[Any, Any], name: str) -> Any:
        return settle(item_value(items.get(name), name, self.limits))

    def _optional(self, items: dict[Any, Any], name: str, kind: type[T]) -> T | None:
        item = self._plain(items, name)
        if item is not None and not isinstance(item, kind):
            raise WireError(f"not of type {kind.__name__}", field=name)
        return item

    def _arguments(self, items: dict[Any, Any], field: str) -> tuple[Value, WireError | None]:
        return or_refused(lambda: arguments_of_items(items.get("args"), field, self.limits))


def _map(**entries: bytes) -> bytes:
    """A map of values that are CBOR already."""
    parts = [bytes((0xA0 | len(entries),))]
    for name, data in entries.items():
        parts.append(bytes((0x60 | len(name),)) + name.encode())
        parts.append(data)
    return b"".join(parts)


def _id(number: int) -> bytes:
    return _ID_HEAD + number.to_bytes(8, "big")


__all__ = ["CborCodec"]
