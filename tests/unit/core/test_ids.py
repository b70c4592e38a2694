"""Spelling of ids, and the limits of names and keys."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import check_key, check_name, format_actor_id, parse_actor_id
from holdfast_server.core.limits import Limits


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_base32_without_padding_and_parses_back(actor_id: bytes) -> None:
    text = format_actor_id(actor_id)

    assert text == base64.b32encode(actor_id).decode().rstrip("=").lower()
    assert parse_actor_id(text) == actor_id


@pytest.mark.parametrize("name", ["a", "A_b-9", "_", "x" * 64])
def test_names_that_are_allowed(name: str) -> None:
    check_name(name, "name")


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "ä", "a\n", "x" * 65])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(HoldfastError):
        check_name(name, "name")


LIMITS = Limits(key_parts_max=3, key_part_bytes_max=8, key_bytes_max=12)


@pytest.mark.parametrize("key", [(), ("",), ("a", "b", "c"), ("12345678", "1234"), ("ää", "ää")])
def test_keys_that_are_allowed(key: tuple[str, ...]) -> None:
    check_key(key, "key", LIMITS)


@pytest.mark.parametrize(
    "key", [("a", "b", "c", "d"), ("123456789",), ("ääää1",), ("1234567", "123456")]
)
def test_keys_that_are_refused(key: tuple[str, ...]) -> None:
    with pytest.raises(HoldfastError):
        check_key(key, "key", LIMITS)
