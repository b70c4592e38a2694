"""Calls that carry an idempotency key: run once, join, replay or refuse.

The stored reply is written in the batch of the turn that it answers, under the
actor's address, so that it outlives destroy. A row below the client's
acknowledged number is deleted with the next batch of the same actor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call, CallKey, ClientKey, UserKey
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.replies import ClientReplies, ReplyTable, Verdict
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.turn import ReplyWriter
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.rows import result_row
from holdfast_server.store.v1 import records_pb2 as records

_REFUSALS = {
    Verdict.EXPIRED: errors.IDEMPOTENCY_KEY_EXPIRED,
    Verdict.FULL: errors.IDEMPOTENCY_TABLE_FULL,
}
# Every call needs these, and a member costs less by a name of its own (see `core.mailbox`).
_RUN: Final = Verdict.RUN
_RESULT: Final = records.ReplyRecord.OUTCOME_RESULT

Identity = tuple[bytes, bytes, int | str]
"""What tells a key from others, without what changes between tries."""


class Claim:
    """The right to run the call of a key, whose reply rows it writes; others with the key
    wait for its end."""

    __slots__ = ("_activation", "_ended", "_identity", "_key", "fingerprint")

    def __init__(
        self, activation: Activation, key: CallKey, fingerprint: bytes, identity: Identity
    ) -> None:
        self.fingerprint = fingerprint
        self._activation = activation
        self._key = key
        self._identity = identity
        # Made when somebody waits.
        self._ended: asyncio.Future[Answer | None] | None = None
        activation.node.flights[identity] = self

    async def join(self, deadline: float | None) -> Answer | None:
        """Wait until the call is over: its answer, None where it failed."""
        if self._ended is None:
            self._ended = self._activation.node.loop.create_future()
        async with Expiring(deadline):
            return await asyncio.shield(self._ended)

    def end(self, answer: Answer | None) -> None:
        """The call is over. One that failed leaves the decision to those that
        joined it: they find its stored error, or run themselves."""
        del self._activation.node.flights[self._identity]
        if self._ended is not None:
            self._ended.set_result(answer)

    def put_result(self, batch: Batch, value: Value, actor_id: bytes) -> None:
        key = self._key
        if isinstance(key, ClientKey):
            # Nearly every call comes here.
            encoding, data = value
            client = self._client(batch, key)
            row = result_row(self.fingerprint, encoding, data, actor_id, client.floor)
            self._put_of(client, batch, key.number, row)
            return
        record = records.ReplyRecord(outcome=_RESULT, actor_id=actor_id)
        record.encoding, record.data = value
        self._put(batch, record)

    def put_error(self, batch: Batch, error: HoldfastError, actor_id: bytes) -> None:
        record = records.ReplyRecord(
            outcome=records.ReplyRecord.OUTCOME_USER_ERROR,
            error_code=error.code,
            error_message=error.message,
            error_metadata_json=error.user_metadata_json or b"",
            actor_id=actor_id,
        )
        self._put(batch, record)

    def put_started(self, batch: Batch, actor_id: bytes) -> None:
        outcome = records.ReplyRecord.OUTCOME_STARTED
        self._put(batch, records.ReplyRecord(outcome=outcome, actor_id=actor_id))

    def _put(self, batch: Batch, record: records.ReplyRecord) -> None:
        activation, key = self._activation, self._key
        record.fingerprint = self.fingerprint
        if not isinstance(key, ClientKey):
            scope, sweep = activation.scope, activation.node.reply_sweep
            row_key = keys.user_reply_key(scope, key.caller, key.key)
            sweep.note_user(row_key, record, batch)
            data = record.SerializeToString()
            batch.put(row_key, data)
            table_of(activation).stored(key, len(data))
            return
        client = self._client(batch, key)
        record.acknowledged_below = client.floor
        self._put_of(client, batch, key.number, record.SerializeToString())

    def _client(self, batch: Batch, key: ClientKey) -> ClientReplies:
        """The client of a key, with its floor raised, and the rows below deleted."""
        activation = self._activation
        client_id, _, below = key
        table, scope, sweep = table_of(activation), activation.scope, activation.node.reply_sweep
        client = table.find_client(client_id) or table.client(sweep.shared_id(client_id))
        if below > client.floor:
            for gone in table.acknowledge(client, below):
                batch.delete(keys.client_reply_key(scope, client_id, gone))
        sweep.note_client(scope, client, batch)
        return client

    def _put_of(self, client: ClientReplies, batch: Batch, number: int, row: bytes) -> None:
        activation = self._activation
        batch.put(keys.client_reply_key(activation.scope, client.client_id, number), row)
        table_of(activation).stored_of(client, number, len(row))


async def run_once(
    activation: Activation, call: Call, run: Callable[[ReplyWriter | None], Awaitable[Answer]]
) -> Answer:
    """Answer `call`, running it at most once for its key, if it has one."""
    return await (run(None) if call.key is None else run_keyed(activation, call, run))


async def run_keyed(
    activation: Activation, call: Call, run: Callable[[ReplyWriter], Awaitable[Answer]]
) -> Answer:
    """Answer `call`, running it at most once for its key."""
    claim = await claim_key(activation, call)
    if isinstance(claim, Answer):
        return claim
    answer: Answer | None = None
    try:
        answer = await run(claim)
        return answer
    finally:
        claim.end(answer)


def claim_now(activation: Activation, call: Call) -> Claim | None:
    """The right to run `call` whose key is new, as far as memory tells; else None: it has
    to wait, to look into the store, or to be refused."""
    node, key, table = activation.node, call.key, activation.replies
    assert key is not None
    limits, identity = node.limits, (activation.scope, key[0], key[1])
    if table is None or identity in node.flights:
        return None
    verdict = table.judge(key, rows_max=limits.replies_max, bytes_max=limits.replies_bytes_max)
    if verdict is not _RUN:
        return None
    node.reply_sweep.hear(key)
    return Claim(activation, key, call.fingerprint(), identity)


async def claim_key(activation: Activation, call: Call) -> Claim | Answer:
    """The right to run `call`, or the answer that its key has; refusals are raised."""
    assert call.key is not None
    node, key, fingerprint = activation.node, call.key, call.fingerprint()
    limits = node.limits
    node.reply_sweep.hear(key)
    identity = (activation.scope, key[0], key[1])
    while (running := node.flights.get(identity)) is not None:
        if running.fingerprint != fingerprint:
            raise HoldfastError(errors.IDEMPOTENCY_KEY_REUSED)
        answer = await running.join(call.deadline)
        if answer is not None:
            node.tally.joined += 1
            return Answer(answer.value, answer.durability, answer.actor_id, replayed=True)
    # What was remembered before the store failed may never have been stored.
    activation.check_live()
    verdict = table_of(activation).judge(
        key, rows_max=limits.replies_max, bytes_max=limits.replies_bytes_max
    )
    if verdict is _RUN:
        return Claim(activation, key, fingerprint, identity)
    if verdict is Verdict.REPLAY:
        return await _replay(activation, key, fingerprint)
    raise HoldfastError(_REFUSALS[verdict])


async def _replay(activation: Activation, key: CallKey, fingerprint: bytes) -> Answer:
    node, row_key = activation.node, reply_key(activation.scope, key)
    row = node.read(row_key)
    if row is None:
        raise HoldfastError(errors.IDEMPOTENCY_KEY_EXPIRED)
    record = node.decode_row(records.ReplyRecord, row_key, row)
    if record.fingerprint != fingerprint:
        raise HoldfastError(errors.IDEMPOTENCY_KEY_REUSED)
    await activation.until_synced()
    node.tally.replayed += 1
    if record.outcome == records.ReplyRecord.OUTCOME_RESULT:
        value = Value(record.encoding, record.data)
        return Answer(value, Durability.SYNCED, record.actor_id, replayed=True)
    if record.outcome == records.ReplyRecord.OUTCOME_USER_ERROR:
        raise HoldfastError(
            errors.USER_ERROR,
            record.error_message,
            code=record.error_code,
            user_metadata_json=record.error_metadata_json or None,
        )
    raise HoldfastError(errors.TURN_INTERRUPTED)


def reply_key(scope: bytes, key: CallKey) -> bytes:
    if isinstance(key, ClientKey):
        return keys.client_reply_key(scope, key.client_id, key.number)
    return keys.user_reply_key(scope, key.caller, key.key)


def table_of(activation: Activation) -> ReplyTable:
    """The table of stored replies, read from the store when first needed."""
    if activation.replies is None:
        table = ReplyTable()
        prefix = keys.reply_prefix(activation.scope)
        start, end = prefix, keys.prefix_end(prefix)
        while rows := activation.node.scan(start, end, limit=1000, reverse=False):
            for key, value in rows:
                call_key = _parse(key)
                table.stored(call_key, len(value))
                if isinstance(call_key, ClientKey):
                    record = activation.node.decode_row(records.ReplyRecord, key, value)
                    client = table.client(call_key.client_id)
                    client.floor = max(client.floor, record.acknowledged_below)
            start = rows[-1][0] + b"\x00"
        # Not before: one that a failing read has cut off would let calls run again.
        activation.replies = table
    return activation.replies


def _parse(key: bytes) -> CallKey:
    kind, rest = key[18:19], key[19:]
    if kind == keys.CLIENT:
        return ClientKey(rest[:16], int.from_bytes(rest[16:24]), 0)
    return UserKey(rest[:16], rest[16:].decode("utf-8"))
