"""A codec: one encoding of the wire, for one kind of client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.limits import DEFAULT_LIMITS, WireLimits
from holdfast_server.gateway.wire.messages import (
    HttpActionRequest,
    HttpActionResponse,
    HttpQueueSendRequest,
    HttpQueueSendResponse,
    HttpResponseError,
    ToClient,
    ToServer,
)


@dataclass(frozen=True, slots=True)
class Codec(ABC):
    """Reads what clients send and writes what they are sent; has no state.

    `tagged` is for clients that tag values inside CBOR and know the tags of sets: those
    from 2.3 on. Equal codecs write the same bytes, so a codec can be the key under which a
    frame for many connections is kept. All `decode_...` raise WireError, and so does
    `encode_...` for a value that the runtime cannot have made.
    """

    tagged: bool = False
    limits: WireLimits = DEFAULT_LIMITS

    name: ClassVar[str]
    """As clients call it: "json", "cbor" or "bare"."""
    binary: ClassVar[bool]
    """Whether frames are binary: bytes, and not text."""
    content_type: ClassVar[str]
    """Of bodies."""

    @abstractmethod
    def decode_to_server(self, frame: bytes | str) -> ToServer:
        """One frame of a connection's client."""

    @abstractmethod
    def encode_to_client(self, message: ToClient) -> bytes | str:
        """One frame to a connection's client: bytes where `binary`, else text."""

    @abstractmethod
    def decode_action_request(self, body: bytes) -> HttpActionRequest:
        """The body of POST /action/{name}."""

    @abstractmethod
    def encode_action_response(self, response: HttpActionResponse) -> bytes:
        """The body of its answer."""

    @abstractmethod
    def encode_error(self, error: HttpResponseError) -> bytes:
        """The body of an answer that is no success."""

    @abstractmethod
    def decode_queue_request(self, body: bytes) -> HttpQueueSendRequest:
        """The body of POST /queue/{name}."""

    @abstractmethod
    def encode_queue_response(self, response: HttpQueueSendResponse) -> bytes:
        """The body of its answer."""

    def for_tagged(self) -> Self:
        """This codec for clients that tag values inside CBOR."""
        return self if self.tagged else replace(self, tagged=True)

    def _check_size(self, data: bytes | str) -> bytes:
        """The bytes of a frame that is not too long."""
        limit = self.limits.frame_bytes_max
        if isinstance(data, str):
            try:
                data = data.encode()
            except UnicodeEncodeError as error:
                raise WireError(f"not valid text: {error.reason}") from None
        if len(data) > limit:
            raise WireError(f"{len(data)} bytes; at most {limit}", limit=limit)
        return data

    def _check_name(self, name: str, field: str) -> str:
        limit = self.limits.name_bytes_max
        size = len(name.encode("utf-8", "surrogatepass"))
        if size > limit:
            raise WireError(f"{size} bytes; at most {limit}", field=field, limit=limit)
        return name


__all__ = ["Codec"]
