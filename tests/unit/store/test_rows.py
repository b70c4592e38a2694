"""Rows written by hand are what protobuf writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.store.rows import result_row, state_row, varint
from holdfast_server.store.v1 import records_pb2 as records

_SIXTEEN = st.binary(min_size=16, max_size=16)
_NUMBERS = st.one_of(
    st.integers(0, (1 << 63) - 1),
    st.sampled_from([n + d for n in (1 << 7, 1 << 14, 1 << 21, 1 << 28) for d in (-1, 0, 1)]),
)


@given(
    version=st.integers(0, (1 << 32) - 1),
    data=st.binary(max_size=300),
    expires_at_ms=_NUMBERS,
)
def test_a_state_row_is_a_state_record(version: int, data: bytes, expires_at_ms: int) -> None:
    record = records.StateRecord(schema_version=version, data=data, expires_at_ms=expires_at_ms)

    assert state_row(version, data, expires_at_ms) == record.SerializeToString()


@given(
    fingerprint=_SIXTEEN,
    encoding=st.integers(1, 64),
    data=st.binary(max_size=300),
    actor_id=_SIXTEEN,
    below=_NUMBERS,
)
def test_a_result_row_is_a_reply_record(
    fingerprint: bytes, encoding: int, data: bytes, actor_id: bytes, below: int
) -> None:
    record = records.ReplyRecord(
        outcome=records.ReplyRecord.OUTCOME_RESULT,
        fingerprint=fingerprint,
        encoding=encoding,
        data=data,
        actor_id=actor_id,
        acknowledged_below=below,
    )

    assert result_row(fingerprint, encoding, data, actor_id, below) == record.SerializeToString()


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_of_every_width_are_written(size: int) -> None:
    data = bytes(size)

    assert (
        state_row(1, data) == records.StateRecord(schema_version=1, data=data).SerializeToString()
    )


def test_a_number_of_ten_bytes_is_written() -> None:
    record = records.ReplyRecord(acknowledged_below=(1 << 64) - 1)

    assert b"\x50" + varint((1 << 64) - 1) == record.SerializeToString()
