"""Declared events are checked at registration, and describe themselves."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Actor, BigInt, DecodeError, Event, RegistrationError, payload, setup


def registered(events: Any) -> Any:
    kind = type("Board", (Actor,), {"emits": events})
    return setup(use={"board": kind}).types["board"]


class Foreign:
    pass


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Event(str)], r"Board.emits: is a mapping of names to events"),
        ({"": Event(str)}, r"Board.emits: the name of an event is text, not ''"),
        ({1: Event(str)}, r"Board.emits: the name of an event is text, not 1"),
        ({"a": str}, r"Board.emits\['a'\]: must be an Event, such as Event\(str\)"),
        ({"a": Event(Foreign)}, r"emits\['a'\]: argument 0: nothing decodes to Foreign"),
        ({"a": Event(str, 1)}, r"emits\['a'\]: argument 1: "),
        ({"a": Event(ephemeral=1)}, r"ephemeral must be True or False"),  # type: ignore[arg-type]
        ({"a": Event(retention_s=0)}, r"retention_s must be a positive number of seconds"),
        ({"a": Event(ephemeral=True, retention_s=1)}, r"an ephemeral event is not kept"),
        (
            {"a": Event(can_subscribe=lambda c: True)},  # type: ignore[arg-type,misc]
            r"can_subscribe is a function of the actor and the context",
        ),
        ({"a": Event(can_subscribe=True)}, r"can_subscribe is a function"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_declaration_is_refused_by_name(events: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        registered(events)


def test_a_class_without_events_declares_none() -> None:
    assert registered({}).events == {}
    assert setup(use={"a": type("A", (Actor,), {})}).types["a"].describe()["events"] == []


def test_a_method_cannot_take_the_place_of_events() -> None:
    with pytest.raises(RegistrationError, match="is a mapping of names to events"):
        registered(lambda self: None)


def test_arguments_are_checked_as_they_are_encoded() -> None:
    spec = registered({"a": Event(int, list[str])}).events["a"]
    spec.check(*payload.encode_event([2**70, ["x"]]))
    for number in (1, BigInt(1)):  # the mark makes it another encoding
        spec.check(*payload.encode_event([number, ["x"]]))
        with pytest.raises(DecodeError) as caught:
            spec.check(*payload.encode_event([number, ["x", 2]]))
        assert (caught.value.argument, caught.value.path) == ("1", "$[1]")
        with pytest.raises(DecodeError, match="takes 2 arguments, got 3"):
            spec.check(*payload.encode_event([number, [], 3]))


def test_events_are_described_in_the_order_of_their_names() -> None:
    described = registered({"b": Event(), "a": Event(str, ephemeral=True)}).describe()["events"]
    assert described == [
        {
            "name": "a",
            "arguments_schema": {
                "type": "array",
                "prefixItems": [{"type": "string"}],
                "minItems": 1,
                "maxItems": 1,
            },
            "ephemeral": True,
        },
        {
            "name": "b",
            "arguments_schema": {"type": "array", "prefixItems": [], "minItems": 0, "maxItems": 0},
            "ephemeral": False,
        },
    ]


def test_a_declaration_shows_its_types() -> None:
    assert repr(Event(str, int)) == "Event(str, int)"
