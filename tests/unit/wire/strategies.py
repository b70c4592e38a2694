"""Values for the property tests of the wire, and what JavaScript makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from holdfast import BigInt, payload
from holdfast_server.core.values import Value
from holdfast_server.gateway.wire import RESULT_ENCODING

# How long an example takes says nothing about the code on a busy machine.
relaxed: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
# Half of the texts look like the beginning of a tag.
tag_like: Final = texts | texts.map("${}".format) | st.sampled_from(["$BigInt", "$Set", "$$"])
moments: Final = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
ids: Final = st.integers(0, 2**64 - 1)
integers: Final = st.integers(-(2**70), 2**70) | st.sampled_from(
    [2**32, 2**53 - 1, 2**53, -(2**31)]
)
floats: Final = st.floats(allow_nan=False, allow_infinity=False)
marked: Final = integers.map(BigInt)
leaves: Final = (
    st.none() | st.booleans() | integers | floats | tag_like | st.binary(max_size=8) | moments
)
values: Final = st.recursive(
    leaves | marked,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(tag_like, inner, max_size=3)
        | st.frozensets(integers | tag_like, max_size=3)
    ),
    max_leaves=8,
)
"""What actors may return: bigints marked, sets, arrays that look like tags."""


def encoded(value: Any) -> Value:
    """A result as the runtime gives it to the gateway."""
    return Value(RESULT_ENCODING, payload.encode(value, RESULT_ENCODING))


def plain(value: Any) -> Any:
    """A value as an actor sees it that declares no types: sets are arrays, marks are lost."""
    if isinstance(value, BigInt):
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, frozenset):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
