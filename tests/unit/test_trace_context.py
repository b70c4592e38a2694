"""What is a W3C trace context, and what is not."""

from __future__ import annotations

import pytest

from holdfast_server.core.trace import NO_TRACE, TraceContext, parse, trace_in

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_the_parts_of_a_traceparent() -> None:
    context = parse(PARENT, "a=1,b=2")

    assert context == TraceContext(PARENT, "a=1,b=2")
    assert (context.trace_id, context.span_id, context.sampled) == (TRACE, SPAN, True)
    assert not parse(f"00-{TRACE}-{SPAN}-02").sampled
    assert not NO_TRACE.sampled


def test_of_a_later_version_only_what_is_known_is_passed_on() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-ff-what-the-future-brings").parent == PARENT


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "hello",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f" {PARENT}",
    ],
)
def test_a_malformed_traceparent_is_no_trace(malformed: str) -> None:
    assert parse(malformed, "a=1") == NO_TRACE


def test_a_tracestate_over_the_limit_is_dropped_and_the_trace_kept() -> None:
    assert parse(PARENT, "a=" + "x" * 510) == (PARENT, "a=" + "x" * 510)
    assert parse(PARENT, "a=" + "x" * 511) == (PARENT, "")


def test_what_metadata_says() -> None:
    assert trace_in([("user-agent", "x")]) == NO_TRACE
    assert trace_in([("tracestate", "a=1")]) == NO_TRACE
    several = [("tracestate", "a=1"), ("traceparent", PARENT), ("tracestate", "b=2")]
    assert trace_in(several) == (PARENT, "a=1,b=2")
    assert trace_in([("traceparent", PARENT), ("traceparent", PARENT)]) == NO_TRACE
