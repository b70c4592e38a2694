"""Keys as one string: every key has one, and only what is one has a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.gateway.wire import WireError, format_key, parse_key
from tests.unit.wire.strategies import relaxed

parts = st.text(st.sampled_from("ab0/\\\0é") | st.characters(exclude_categories=["Cs"]), max_size=6)


@relaxed
@given(key=st.lists(parts, max_size=5).map(tuple))
def test_a_key_comes_back(key: tuple[str, ...]) -> None:
    assert parse_key(format_key(key)) == key


@relaxed
@given(one=st.lists(parts, max_size=3).map(tuple), two=st.lists(parts, max_size=3).map(tuple))
def test_different_keys_are_different_strings(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert (format_key(one) == format_key(two)) == (one == two)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("/", ()),
        ("", ()),
        ("a", ("a",)),
        ("\\0", ("",)),
        ("a\\/b/\\0/c", ("a/b", "", "c")),
        ("a//b", ("a", "", "b")),
        ("a/", ("a", "")),
        ("\\\\0", ("\\0",)),
    ],
)
def test_known_strings(text: str, key: tuple[str, ...]) -> None:
    assert parse_key(text) == key


@pytest.mark.parametrize("text", ["a\\", "\\a", "a/\\", "\\0a", "a\\0", "\\x/b"])
def test_what_no_key_is_written_as_is_refused(text: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_key(text, "actor key")
    assert caught.value.field == "actor key"
