"""holdfast.v1.DeadLetterService: what targets refused, for people to decide."""

from __future__ import annotations

import base64
import binascii

from holdfast.v1 import actor_pb2, dead_letter_service_pb2, dead_letter_service_pb2_grpc
from holdfast_server.core.errors import invalid
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Value
from holdfast_server.rpc.actor_service import page_size, page_token
from holdfast_server.rpc.convert import Converter, payload_of
from holdfast_server.rpc.guard import Context, unary
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.store.v1 import records_pb2 as records

pb = dead_letter_service_pb2


class DeadLetterService(dead_letter_service_pb2_grpc.DeadLetterServiceServicer):
    """Lists dead letters, sends them again, discards them."""

    def __init__(self, node: Node, converter: Converter, limits: Limits, calls: Calls) -> None:
        self.calls = calls
        self._letters = node.dead_letters
        self._convert = converter
        self._limits = limits

    @unary
    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: Context
    ) -> pb.ListDeadLettersResponse:
        namespace = self._convert.namespace(request.namespace)
        size = page_size(request.page_size, self._limits)
        rows, following = await self._letters.list(namespace, page_token(request.page_token), size)
        return pb.ListDeadLettersResponse(
            dead_letters=[_letter(*row) for row in rows], next_page_token=following.hex()
        )

    @unary
    async def RetryDeadLetter(
        self, request: pb.RetryDeadLetterRequest, context: Context
    ) -> pb.RetryDeadLetterResponse:
        namespace = self._convert.namespace(request.namespace)
        await self._letters.retry(namespace, _parse_id(request.dead_letter_id))
        return pb.RetryDeadLetterResponse()

    @unary
    async def DiscardDeadLetter(
        self, request: pb.DiscardDeadLetterRequest, context: Context
    ) -> pb.DiscardDeadLetterResponse:
        namespace = self._convert.namespace(request.namespace)
        await self._letters.discard(namespace, _parse_id(request.dead_letter_id))
        return pb.DiscardDeadLetterResponse()


def _parse_id(text: str) -> bytes:
    if not text:
        raise invalid("dead_letter_id", "is required")
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise invalid("dead_letter_id", "is not one of ListDeadLetters") from None


def _letter(letter: bytes, record: records.SendRecord) -> pb.DeadLetter:
    shown = pb.DeadLetter(
        dead_letter_id=base64.b32encode(letter).decode("ascii").rstrip("=").lower(),
        sender=actor_pb2.ActorKey(name=record.sender_name, key=record.sender_key),
        target=actor_pb2.ActorKey(name=record.name, key=record.key),
        action=record.action,
        args=payload_of(Value(record.encoding, record.args)),
        attempts=record.attempts,
        last_error=record.last_error,
    )
    if record.kwargs:
        shown.kwargs.CopyFrom(payload_of(Value(record.encoding, record.kwargs)))
    shown.sent_at.FromMilliseconds(record.sent_at_ms)
    return shown
