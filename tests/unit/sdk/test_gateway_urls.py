"""The URLs of actors at the gateway: what a client builds, and what it refuses."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Client, HoldfastError
from holdfast._gateway_url import actor_url, check_gateway, names_itself, with_token
from holdfast._transport import Encoded, Target
from holdfast.fetch import raw_path

GATEWAY = "http://h:6420"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (None, None),
        ("http://127.0.0.1:6420", "http://127.0.0.1:6420"),
        ("https://example.org/api/rivet/", "https://example.org/api/rivet"),
        ("http://[::1]:6420/", "http://[::1]:6420"),
    ],
)
def test_a_gateway_is_a_url(url: str | None, base: str | None) -> None:
    assert check_gateway(url) == base
    assert Client("127.0.0.1:6430", gateway=url).gateway == base


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:6420", "ws://h", "http://", "http://u:p@h", "http://h?a=b", "http://h#f"],
)
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Client("127.0.0.1:6430", gateway=url)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError):
        Client("127.0.0.1:6430", gateway=6420)  # type: ignore[arg-type]


def test_without_a_gateway_the_error_says_what_to_do() -> None:
    room = Client("127.0.0.1:6430").get("room", "a")
    with pytest.raises(HoldfastError, match="gateway="):
        room.websocket()


@pytest.mark.parametrize(
    ("target", "rest", "url"),
    [
        (Target(actor_id="abc"), "", "/gateway/abc"),
        (Target(actor_id="abc"), "/request/x?a=1&b", "/gateway/abc/request/x?a=1&b"),
        (Target(actor_id="a/b"), "/request/?", "/gateway/a%2Fb/request/?"),
        (
            Target(name="room", key=("a b", "ä&")),
            "/request/x?rvt=1",
            "/gateway/room/request/x?rvt=1&rvt-namespace=ns&rvt-method=get&rvt-key=a+b%2C%C3%A4%26",
        ),
        (
            Target(name="room", key=(), create=True),
            "/websocket/",
            "/gateway/room/websocket/?rvt-namespace=ns&rvt-method=getOrCreate&rvt-key="
            "&rvt-runner=default&rvt-crash-policy=sleep",
        ),
    ],
)
def test_an_actor_is_named_in_its_url(target: Target, rest: str, url: str) -> None:
    assert actor_url(GATEWAY, "ns", target, rest) == GATEWAY + url


@pytest.mark.parametrize(
    ("target", "itself"),
    [
        (Target(actor_id="x"), True),
        (Target(name="n", key=("a", "", "c")), True),
        (Target(name="n", key=()), True),
        # Joined by commas these would be other keys; an input has no room.
        (Target(name="n", key=("a,b",)), False),
        (Target(name="n", key=("",)), False),
        (Target(name="n", key=("a",), create=True, input=Encoded(2, b"x")), False),
    ],
)
def test_a_key_that_a_url_cannot_tell_needs_the_id(target: Target, itself: bool) -> None:
    assert names_itself(target) is itself


@given(st.lists(st.text(st.characters(exclude_characters=",", codec="utf-8")), max_size=4))
def test_a_key_comes_back_out_of_its_url(parts: list[str]) -> None:
    target = Target(name="room", key=tuple(parts))
    if not names_itself(target):
        return
    query = dict(parse_qsl(urlsplit(actor_url(GATEWAY, "ns", target)).query, True))
    assert query["rvt-key"].split(",") == (parts or [""])


def test_a_token_is_escaped() -> None:
    assert with_token("http://h/gateway/x", "a/b@c") == "http://h/gateway/x@a%2Fb%40c"
    assert with_token("http://h/gateway/x", None) == "http://h/gateway/x"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", "/"),
        ("a", "/a"),
        ("//a//b", "/a//b"),
        ("/a b?c=d e", "/a%20b?c=d%20e"),
        ("?a=1", "/?a=1"),
        ("/ä%2F", "/%C3%A4%2F"),
        ('/"<>', "/%22%3C%3E"),
    ],
)
def test_a_path_begins_with_one_slash_and_is_escaped(path: str, sent: str) -> None:
    assert raw_path(path) == sent


@given(st.text(st.characters(min_codepoint=33, exclude_characters="#%?\x7f", codec="utf-8")))
def test_a_path_comes_back(text: str) -> None:
    assert unquote(raw_path("/x" + text)) == "/x" + text


@pytest.mark.parametrize(
    ("path", "error"), [("/a#b", ValueError), ("/\x00", ValueError), (3, TypeError)]
)
def test_what_is_no_path_is_refused(path: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        raw_path(path)
