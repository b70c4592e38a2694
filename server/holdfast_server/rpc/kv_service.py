"""holdfast.v1.KvService: an actor's KV, read from outside without waking it."""

from __future__ import annotations

from holdfast.v1 import kv_service_pb2, kv_service_pb2_grpc
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.rpc.actor_service import foreign_token, page_size, page_token
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.guard import Context, unary
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.store.keys import prefix_end

pb = kv_service_pb2


class KvService(kv_service_pb2_grpc.KvServiceServicer):
    """Reads KV entries."""

    def __init__(self, node: Node, converter: Converter, limits: Limits, calls: Calls) -> None:
        self.calls = calls
        self._node = node
        self._convert = converter
        self._limits = limits

    @unary
    async def GetKvEntries(
        self, request: pb.GetKvEntriesRequest, context: Context
    ) -> pb.GetKvEntriesResponse:
        target = self._convert.target(request.namespace, request.target, create=False)
        limit = self._limits.kv_batch_keys_max
        if not 1 <= len(request.keys) <= limit:
            raise invalid("keys", f"has {len(request.keys)}", limit=limit)
        if any(len(key) > self._limits.kv_key_bytes_max for key in request.keys):
            raise HoldfastError(errors.KV_KEY_TOO_LARGE)
        rows = await self._node.lookup.kv_get(target, list(request.keys))
        size, most = sum(map(_bytes, rows)), self._limits.kv_read_bytes_max
        if size > most:
            raise HoldfastError(
                errors.MESSAGE_OUTGOING_TOO_LONG,
                f"{size} bytes of entries; at most {most}",
                metadata={"limit": str(most), "size": str(size)},
            )
        return pb.GetKvEntriesResponse(entries=[_entry(*row) for row in rows])

    @unary
    async def ListKvEntries(
        self, request: pb.ListKvEntriesRequest, context: Context
    ) -> pb.ListKvEntriesResponse:
        target = self._convert.target(request.namespace, request.target, create=False)
        size = page_size(request.page_size, self._limits)
        token = page_token(request.page_token)
        if request.prefix and (request.start or request.end):
            raise invalid("prefix", "not together with start and end")
        start, end = request.start, request.end or None
        if request.prefix:
            start = request.prefix
            end = prefix_end(start) if start.rstrip(b"\xff") else None
        if token and not (start <= token and (end is None or token < end)):
            raise foreign_token()
        if token and request.reverse:
            end = token
        elif token:
            start = token
        rows = await self._node.lookup.kv_list(target, start, end, size + 1, request.reverse)
        size = min(size, _count_that_fits(rows, self._limits.kv_read_bytes_max))
        following = b""
        if len(rows) > size:
            # Backwards the page ends before its bound, so the bound is the last row shown.
            following = rows[size - 1][0] if request.reverse else rows[size][0]
        return pb.ListKvEntriesResponse(
            entries=[_entry(*row) for row in rows[:size]], next_page_token=following.hex()
        )


def _bytes(row: tuple[bytes, bytes]) -> int:
    return len(row[0]) + len(row[1])


def _count_that_fits(rows: list[tuple[bytes, bytes]], bytes_max: int) -> int:
    """How many of the first rows stay within `bytes_max`; one at least."""
    total = 0
    for index, row in enumerate(rows):
        total += _bytes(row)
        if total > bytes_max:
            return max(index, 1)
    return len(rows)


def _entry(key: bytes, stored: bytes) -> pb.KvEntry:
    return pb.KvEntry(key=key, value=stored[1:], text=stored[:1] == b"t")
