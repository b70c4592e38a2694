"""Which actor a URL is for, and what remains of it."""

import base64
from typing import Any
from urllib.parse import quote, urlencode

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import payload
from holdfast_server.gateway.wire import (
    DEFAULT_LIMITS,
    DirectTarget,
    QueryTarget,
    Target,
    WireError,
    WireLimits,
    parse_target,
    plain_query,
)
from tests.unit.wire.strategies import names, relaxed, texts

GET = "rvt-namespace=default&rvt-method=get"
CREATE = "rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default"


def target(path: str, query: str = "") -> Target | None:
    return parse_target(path, query, DEFAULT_LIMITS)


def by_query(query: str, path: str = "/gateway/room/connect") -> QueryTarget:
    found = target(path, query)
    assert isinstance(found, QueryTarget)
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gateway/a1", DirectTarget(actor_id="a1")),
        ("/gateway/a1/", DirectTarget(actor_id="a1")),
        ("/gateway/a1/action/inc", DirectTarget(actor_id="a1", path="/action/inc")),
        ("/gateway/a1@t%2F1/x", DirectTarget(actor_id="a1", token="t/1", path="/x")),
        ("/gateway/a%2F1/x%2Fy/", DirectTarget(actor_id="a/1", path="/x%2Fy/")),
        ("/gateway/a+1", DirectTarget(actor_id="a+1")),
        ("/gateway/a%zz1", DirectTarget(actor_id="a%zz1")),
    ],
)
def test_a_direct_path(path: str, expected: DirectTarget) -> None:
    assert target(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/", "", "/gateway", "/gateway/", "/gateways/a", "gateway/a", "/x/gateway/a", "/gateway//a",
     "/gateway/a//b", "/gateway/@t", "/gateway/a@", "/gateway/%ff", "/gateway/a@%ff"],
)  # fmt: skip
def test_what_names_no_actor(path: str) -> None:
    assert target(path) is None


def test_a_query_without_our_parameters_is_the_actors() -> None:
    found = target("/gateway/a1/request", "a=%20+b&&c&rvtkey=1&x-rvt-y=2")
    assert found == DirectTarget(
        actor_id="a1", path="/request", query="a=%20+b&&c&rvtkey=1&x-rvt-y=2"
    )


def test_a_query_path_as_clients_send_it() -> None:
    query = (
        "rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key=a%2Cb"
        "&rvt-crash-policy=sleep"
    )
    assert by_query(query, "/gateway/counter/action/increment") == QueryTarget(
        name="counter",
        namespace="default",
        method="getOrCreate",
        key=("a", "b"),
        runner="default",
        crash_policy="sleep",
        path="/action/increment",
    )


def test_what_remains_of_the_query_is_kept_byte_for_byte() -> None:
    found = by_query(f"q=%2B+%zz&{GET}&&rvt-token=t&a&b=&q=2")
    assert (found.query, found.token) == ("q=%2B+%zz&a&b=&q=2", "t")


@relaxed
@given(
    name=names,
    key=st.lists(texts.filter(lambda part: "," not in part), min_size=1, max_size=4),
    namespace=texts,
    token=texts,
)
def test_what_a_client_writes_is_read(
    name: str, key: list[str], namespace: str, token: str
) -> None:
    said = {
        "rvt-namespace": namespace,
        "rvt-method": "get",
        "rvt-token": token,
        "rvt-key": ",".join(key),
    }
    found = by_query(urlencode(said), f"/gateway/{quote(name, safe='')}/x")
    assert (found.name, found.namespace, found.token) == (name, namespace, token)
    # One empty part is written like no part at all.
    assert found.key == (() if key == [""] else tuple(key))
    assert found.path == "/x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("1", True), ("false", False), ("0", False)],
)
def test_whether_to_skip_the_wait(value: str, expected: bool) -> None:
    assert by_query(f"{GET}&rvt-skip-ready-wait={value}").skip_ready_wait is expected
    assert by_query(GET).skip_ready_wait is False


def test_an_input_comes_along() -> None:
    encoded = "gwFjdHdv9g"  # base64url of CBOR [1, "two", null]
    found = by_query(f"{CREATE}&rvt-input={encoded}")
    assert found.input is not None
    assert payload.decode(found.input.data, found.input.encoding) == [1, "two", None]
    assert by_query(CREATE).input is None


def test_pool_is_another_word_for_runner() -> None:
    query = "rvt-namespace=n&rvt-method=getOrCreate&rvt-pool=p"
    assert by_query(query).runner == "p"
    assert by_query(query + "&rvt-runner=r").runner == "p"


REFUSED: list[tuple[str, str, str]] = [
    ("rvt-method=get", "query_invalid_params", "rvt-namespace: missing"),
    ("rvt-namespace=n", "query_invalid_params", "rvt-method: missing"),
    ("rvt-namespace=n&rvt-method=put", "query_invalid_params", "rvt-method: neither"),
    ("rvt-namespace=n&rvt-method=getOrCreate", "query_missing_pool", "rvt-pool: missing"),
    (f"{GET}&rvt-key=a&rvt-key=a", "query_duplicate_param", "rvt-key: given twice"),
    (f"{GET}&rvt-later=1", "query_invalid_params", "rvt-later: unknown"),
    (f"{GET}&rvt-", "query_invalid_params", "rvt-: unknown"),
    (f"{GET}&rvt-pool=p", "query_get_disallowed_params", "rvt-pool: not for method get"),
    (f"{GET}&rvt-input=", "query_get_disallowed_params", "rvt-input: not for method get"),
    (f"{CREATE}&rvt-crash-policy=x", "query_invalid_params", "rvt-crash-policy: none of restart"),
    (f"{GET}&rvt-skip-ready-wait=yes", "query_invalid_params", "rvt-skip-ready-wait: neither"),
    (f"{GET}&rvt-key=%ff", "query_invalid_percent_encoding", "rvt-key: percent-encoding"),
    (f"{CREATE}&rvt-input=a", "query_invalid_base64_input", "rvt-input: not base64url"),
    (f"{CREATE}&rvt-input=a%2B==", "query_invalid_base64_input", "rvt-input: not base64url"),
    (f"{CREATE}&rvt-input=gwE", "query_invalid_cbor_input", "rvt-input: malformed CBOR"),
    (f"{CREATE}&rvt-input=", "query_invalid_cbor_input", "rvt-input: malformed CBOR"),
    (f"{GET}&rvt-key={','.join('k' * 40)}", "query_invalid_params", "rvt-key: 40 parts; at most"),
    ("&".join(f"rvt-{i}=1" for i in range(40)), "query_invalid_params", "rvt-: 40 parameters"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "code", "problem"), REFUSED)
def test_what_does_not_fit_is_refused(query: str, code: str, problem: str) -> None:
    with pytest.raises(WireError) as caught:
        target("/gateway/room", query)
    assert caught.value.code == code
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/gateway", "query_empty_actor_name"),
        ("/gateway/", "query_empty_actor_name"),
        ("/gateway/room@token", "query_path_token_syntax"),
        ("/gateway/%ff", "query_invalid_percent_encoding"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(path: str, code: str) -> None:
    with pytest.raises(WireError) as caught:
        target(path, GET)
    assert caught.value.code == code


def test_an_input_has_a_limit() -> None:
    limits = WireLimits(input_bytes_max=6)
    query = f"{CREATE}&rvt-input={'A' * 12}"
    with pytest.raises(WireError, match=r"rvt-input: 9 bytes; at most 6") as caught:
        parse_target("/gateway/room", query, limits)
    assert caught.value.limit == 6


@relaxed
@given(said=st.dictionaries(names, texts, max_size=4))
def test_plain_queries_come_back(said: dict[str, Any]) -> None:
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in said.items()
    )
    assert plain_query(query) == said


def test_a_plus_is_a_plus_in_plain_queries() -> None:
    assert plain_query("key=a+b/c&name=r%20s&flag&x=a=b") == {
        "key": "a+b/c", "name": "r s", "flag": "", "x": "a=b",
    }  # fmt: skip
    with pytest.raises(WireError, match="key: given twice"):
        plain_query("key=a&k%65y=b")
    with pytest.raises(WireError, match="query: 3 parameters; at most 2") as caught:
        plain_query("a=1&b=2&c=3", parameters_max=2)
    assert caught.value.limit == 2
    with pytest.raises(WireError, match="key: percent-encoding of what is not UTF-8"):
        plain_query("key=%ff")


def test_a_tree_of_an_input_may_hold_tags_or_not() -> None:
    cases: list[tuple[Any, Any]] = [
        (["$BigInt", "5"], 5),
        (["$x", 1], ["$x", 1]),
        ({"a": ["$$x", 1]}, {"a": ["$x", 1]}),
    ]
    for raw, seen in cases:
        text = base64.urlsafe_b64encode(cbor2.dumps(raw)).decode().rstrip("=")
        found = by_query(f"{CREATE}&rvt-input={text}").input
        assert found is not None
        assert payload.decode(found.data, found.encoding) == seen
