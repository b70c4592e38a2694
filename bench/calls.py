"""The messages of the calls: the same as the SDK's, made ahead of time.

Everything but the idempotency key is serialized once for each actor; the key,
a new number for each call, is appended, which to protobuf is the same message.
"""

from __future__ import annotations

import secrets

import msgspec

from holdfast.v1 import actor_pb2, actor_service_pb2, payload_pb2

METHOD = "/holdfast.v1.ActorService/InvokeAction"
_MSGPACK = payload_pb2.PAYLOAD_ENCODING_MSGPACK


class Calls:
    """Calls of one action of `count` actors of a name in turn, by one client on one
    connection; each actor is called `in_row` times before the next."""

    def __init__(
        self,
        name: str,
        action: str,
        count: int,
        args: tuple[object, ...] = (),
        *,
        in_row: int = 1,
        prefix: str = "",
    ) -> None:
        self._client_id = secrets.token_bytes(16)
        self._count = count
        self._in_row = in_row
        self.keys = [["bench", f"{prefix}{index:06d}"] for index in range(count)]
        self._messages = [
            actor_service_pb2.InvokeActionRequest(
                target=actor_pb2.ActorTarget(get_or_create=actor_pb2.ActorKey(name=name, key=key)),
                action=action,
                args=payload_pb2.Payload(encoding=_MSGPACK, data=msgspec.msgpack.encode(args)),
            ).SerializeToString()
            for key in self.keys
        ]

    def __call__(self, number: int, acknowledged_below: int) -> bytes:
        """The message of call `number`; all below the other number are answered."""
        sequence = actor_pb2.ClientSequence(
            client_id=self._client_id, number=number, acknowledged_below=acknowledged_below
        )
        key = actor_service_pb2.InvokeActionRequest(client_sequence=sequence)
        index = (number - 1) // self._in_row % self._count
        return self._messages[index] + key.SerializeToString()


def result(answer: bytes) -> object:
    """The result in the message of an answer."""
    response = actor_service_pb2.InvokeActionResponse.FromString(answer)
    return msgspec.msgpack.decode(response.result.data)


def answer_bytes() -> int:
    """Size of the answer to a durable increment."""
    return len(
        actor_service_pb2.InvokeActionResponse(
            result=payload_pb2.Payload(encoding=_MSGPACK, data=msgspec.msgpack.encode(1)),
            durability=actor_pb2.DURABILITY_SYNCED,
            actor_id="a" * 26,
        ).SerializeToString()
    )
