"""The wire in BARE: the default of all clients. Values inside of it are CBOR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from holdfast_server.core.values import Value
from holdfast_server.gateway.wire import schemas
from holdfast_server.gateway.wire.codec import Codec
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.messages import (
    TAGGED_VERSION,
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
    arguments_in_cbor,
    or_refused,
    value_as_cbor,
    value_in_cbor,
)


@dataclass(frozen=True, slots=True)
class BareCodec(Codec):
    """Binary frames, each after the version of the protocol that it is in."""

    name: ClassVar[str] = "bare"
    binary: ClassVar[bool] = True
    content_type: ClassVar[str] = "application/octet-stream"

    def decode_to_server(self, frame: bytes | str) -> ToServer:
        version, message = schemas.read(schemas.TO_SERVER, self._check_binary(frame))
        name, val = message["body"]
        if name == "ActionRequest":
            args, refused = self._arguments(val["args"], "body.val.args", version)
            action = self._check_name(val["name"], "body.val.name")
            return ActionRequest(val["id"], action, args, refused, version)
        event = self._check_name(val["eventName"], "body.val.eventName")
        return SubscriptionRequest(event, val["subscribe"], version)

    def encode_to_client(self, message: ToClient) -> bytes:
        body = {"body": self._body(message)}
        return schemas.write(schemas.TO_CLIENT, schemas.WRITTEN_VERSION, body)

    def _body(self, message: ToClient) -> tuple[str, dict[str, Any]]:
        if isinstance(message, ActionResponse):
            output = value_as_cbor(message.output, self.tagged)
            return "ActionResponse", {"id": message.id, "output": output}
        if isinstance(message, Event):
            args = value_as_cbor(message.args, self.tagged)
            return "Event", {"name": message.name, "args": args}
        if isinstance(message, Error):
            return "Error", {**self._error(message), "actionId": message.action_id}
        return "Init", {"actorId": message.actor_id, "connectionId": message.connection_id}

    def _error(self, error: Error | HttpResponseError) -> dict[str, Any]:
        metadata = error.metadata
        return {
            "group": error.group,
            "code": error.code,
            "message": error.message,
            "metadata": None if metadata is None else value_as_cbor(metadata, self.tagged),
        }

    def decode_action_request(self, body: bytes) -> HttpActionRequest:
        version, said = schemas.read(schemas.HTTP_ACTION_REQUEST, self._check_size(body))
        return HttpActionRequest(*self._arguments(said["args"], "args", version), version)

    def encode_action_response(self, response: HttpActionResponse) -> bytes:
        said = {"output": value_as_cbor(response.output, self.tagged)}
        return schemas.write(schemas.HTTP_ACTION_RESPONSE, schemas.WRITTEN_VERSION, said)

    def encode_error(self, error: HttpResponseError) -> bytes:
        said = self._error(error)
        return schemas.write(schemas.HTTP_RESPONSE_ERROR, schemas.WRITTEN_VERSION, said)

    def decode_queue_request(self, body: bytes) -> HttpQueueSendRequest:
        version, said = schemas.read(schemas.HTTP_QUEUE_SEND_REQUEST, self._check_size(body))
        tagged = version >= TAGGED_VERSION
        value, refused = or_refused(
            lambda: value_in_cbor(said["body"], "body", tagged, self.limits)
        )
        return HttpQueueSendRequest(
            value, said["name"], bool(said["wait"]), said["timeout"], refused, version
        )

    def encode_queue_response(self, response: HttpQueueSendResponse) -> bytes:
        value = response.response
        said = {
            "status": response.status,
            "response": None if value is None else value_as_cbor(value, self.tagged),
        }
        return schemas.write(schemas.HTTP_QUEUE_SEND_RESPONSE, schemas.QUEUE_VERSION, said)

    def _arguments(self, data: bytes, field: str, version: int) -> tuple[Value, WireError | None]:
        tagged = version >= TAGGED_VERSION
        return or_refused(lambda: arguments_in_cbor(data, field, tagged, self.limits))


__all__ = ["BareCodec"]
