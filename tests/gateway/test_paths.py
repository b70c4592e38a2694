"""The ways of naming an actor, taken apart without a server."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.errors import HoldfastError
from holdfast_server.gateway.keys import format_key, parse_key
from holdfast_server.gateway.paths import (
    ById,
    ByKey,
    Route,
    header_route,
    path_route,
    query_pairs,
    split_target,
)

NAMED = "rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default"
GET = "rvt-namespace=default&rvt-method=get"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT))
def test_every_key_comes_back_from_its_string(parts: list[str]) -> None:
    key = tuple(parts)
    # What begins like a JSON array may be one.
    if not format_key(key).startswith("["):
        assert parse_key(format_key(key)) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("/", ()),
        ("", ()),
        ("a", ("a",)),
        ("a\\/b/\\0/c", ("a/b", "", "c")),
        ("a\\\\", ("a\\",)),
        ('["a/b","c"]', ("a/b", "c")),
        ("[a", ("[a",)),
        ("[1]", ("[1]",)),
    ],
)
def test_keys_in_strings(text: str, key: tuple[str, ...]) -> None:
    assert parse_key(text) == key


@given(TEXT.filter(lambda text: "@" not in text), TEXT)
def test_the_id_and_token_of_a_path_are_decoded(actor: str, token: str) -> None:
    path = f"/gateway/{quote(actor, safe='')}@{quote(token, safe='')}/action/x%2Fy"

    route = path_route(path, "a=%20&b")

    if actor or token:
        assert route == Route(ById(actor), "/action/x%2Fy", "a=%20&b", token)


@given(TEXT, st.lists(TEXT.filter(lambda text: "," not in text), min_size=1))
def test_the_key_of_a_query_is_decoded(name: str, parts: list[str]) -> None:
    key = ",".join(parts)
    query = f"x=%2B+&{NAMED}&rvt-key={quote_plus(key)}&y"

    route = path_route(f"/gateway/{quote(name, safe='')}/request/z%20", query)

    if name and "@" not in name:
        wanted = tuple(parts) if key else ()
        assert route == Route(ByKey("default", name, wanted, True), "/request/z%20", "x=%2B+&y")


def test_what_is_of_the_actor_is_passed_on_byte_for_byte() -> None:
    query = f"a=%zz&&{NAMED}&%ff=1&b=&rvt%2Dkey=k&c=+"

    route = path_route("/gateway/n/x%/y", query)

    assert route is not None
    assert (route.rest, route.query) == ("/x%/y", "a=%zz&&%ff=1&b=&c=+")
    assert route.actor == ByKey("default", "n", ("k",), True)


@pytest.mark.parametrize(
    ("path", "query", "code", "field"),
    [
        ("/gateway/n/x", f"{NAMED}&rvt-key=a&rvt-key=a", "query_duplicate", "rvt-key"),
        ("/gateway/n/x", f"{NAMED}&rvt-pool=a", "query_duplicate", "rvt-pool"),
        ("/gateway/n/x", f"{NAMED}&rvt-new=a", "query_unknown", "rvt-new"),
        ("/gateway/n/x", f"{NAMED}&rvt-=a", "query_unknown", "rvt-"),
        ("/gateway/n@t/x", NAMED, "query_invalid", "token"),
        ("/gateway/n/x", "rvt-method=get", "query_missing", "rvt-namespace"),
        ("/gateway/n/x", "rvt-namespace=d&rvt-method=getOrCreate", "query_missing", "rvt-runner"),
        ("/gateway/n/x", "rvt-namespace=d", "query_invalid", "rvt-method"),
        ("/gateway/n/x", "rvt-namespace=d&rvt-method=put", "query_invalid", "rvt-method"),
        ("/gateway/n/x", f"{GET}&rvt-runner=r", "query_invalid", "rvt-runner"),
        ("/gateway/n/x", f"{GET}&rvt-input=AA", "query_invalid", "rvt-input"),
        ("/gateway/n/x", f"{NAMED}&rvt-input=*", "query_invalid", "rvt-input"),
        ("/gateway/n/x", f"{NAMED}&rvt-key=%ff", "query_invalid", "rvt-key"),
        ("/gateway/n/x", f"{NAMED}&rvt-key=%", "query_invalid", "rvt-key"),
        ("/gateway/n/x", f"{NAMED}&rvt-skip-ready-wait=y", "query_invalid", "rvt-skip-ready-wait"),
        ("/gateway/%ff/x", "", "query_invalid", "actor_id"),
        ("/gateway/a@%ff/x", "", "query_invalid", "token"),
        ("/gateway/%zz/x", NAMED, "query_invalid", "name"),
    ],
)  # fmt: skip
def test_what_names_no_actor_is_refused(path: str, query: str, code: str, field: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        path_route(path, query)

    assert (caught.value.group, caught.value.code) == ("guard", code)
    assert caught.value.metadata == {"field": field}


@pytest.mark.parametrize(
    "path", ["/", "/gateway", "/gateway/", "/gateway//x", "/gateway/a//x", "/other/a", "gateway/a"]
)
def test_other_paths_are_none_of_the_gateways(path: str) -> None:
    assert path_route(path, NAMED) is None


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("/api/rivet/actors?a=1?b", "/actors", "a=1?b"),
        ("/api/rivet", "/", ""),
        ("/api/rivet/", "/", ""),
        ("/api/rivets", "/api/rivets", ""),
        ("/actors", "/actors", ""),
        ("/api/rivet/api/rivet/x", "/api/rivet/x", ""),
    ],
)
def test_the_base_of_browsers_is_no_part_of_the_path(raw: str, path: str, query: str) -> None:
    assert split_target(raw) == (path, query)


def test_headers_name_an_actor_too() -> None:
    route = header_route("/action/x", "a=1", {"target": "actor", "actor": "i", "token": "t"})
    assert route == Route(ById("i"), "/action/x", "a=1", "t")
    assert header_route("/action/x", "", {"actor": "i"}) is None
    for named in ({"target": "actor"}, {"target": "actor", "actor": ""}, {"target": "x"}):
        with pytest.raises(HoldfastError):
            header_route("/action/x", "", named)


@given(TEXT, TEXT)
def test_parameters_are_decoded(name: str, value: str) -> None:
    if name:
        assert query_pairs(f"{quote(name, safe='')}={quote(value, safe='')}") == [(name, value)]
        pairs = query_pairs(f"{quote_plus(name)}={quote_plus(value)}", plus=True)
        assert pairs == [(name, value)]
