"""Every rule of the oracle, kept and broken: a rule that nothing breaks sees nothing."""

from __future__ import annotations

import pytest

from holdfast import ActorError
from tests.crash.actors import Found
from tests.crash.history import Fate, History, Operation
from tests.crash.oracle import check


def book(
    *entries: str, messages: tuple[str, ...] = (), keys: tuple[str, ...] | None = None
) -> Found:
    return Found(list(entries), list(messages), list(entries if keys is None else keys))


def begun(history: History, ledger: str = "a", action: str = "add", **more: object) -> Operation:
    return history.begin(ledger, action, **more)  # type: ignore[arg-type]


def failed(history: History, operation: Operation, group: str, code: str) -> None:
    error = ActorError(group=group, code=code, message="", metadata=None, reason="")
    history.fail(operation, error)


def test_a_life_as_it_should_be() -> None:
    history = History()
    history.acknowledge(begun(history), 1)
    history.acknowledge(begun(history, action="tell", targets=["b", "b"]), 2)
    failed(history, begun(history, action="refuse", targets=["b"]), "user", "refused")
    failed(history, begun(history, action="halves", parts=2), "action", "turn_interrupted")
    begun(history)
    begun(history)
    history.read("a", 3, "4.1")
    books = {
        "a": book("1.1", "2.1", "4.1", "6.1"),
        "b": book(messages=("a:2.1:0", "a:2.1:1")),
    }

    assert check(history, books) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((), "told that 1.1 is at 1 of a; there is nothing"),
        (("1.1", "1.1"), "1.1 of a took effect 2 times"),
        (("1.1", "9.1"), "9.1, which nobody asked of it"),
        (("1.1", "1.2"), "has only 1 parts, and 1.2 is there"),
    ],
)
def test_an_acknowledged_entry_is_there_once_and_no_other(
    entries: tuple[str, ...], words: str
) -> None:
    history = History()
    history.acknowledge(begun(history), 1)

    assert any(words in violation for violation in check(history, {"a": book(*entries)}))


def test_what_was_read_stays() -> None:
    history = History()
    begun(history)
    history.read("a", 1, "1.1")

    assert len(check(history, {"a": book()})) == 1
    assert check(history, {"a": book("1.1")}) == []


@pytest.mark.parametrize(
    ("fate", "parts", "wrong"),
    [
        (Fate.UNKNOWN, 0, False),
        (Fate.UNKNOWN, 1, False),
        (Fate.UNKNOWN, 2, False),
        (Fate.REFUSED, 0, False),
        (Fate.REFUSED, 1, True),
        (Fate.INTERRUPTED, 0, True),
        (Fate.INTERRUPTED, 1, False),
        (Fate.INTERRUPTED, 2, True),
        (Fate.ACKNOWLEDGED, 1, True),
        (Fate.ACKNOWLEDGED, 2, False),
    ],
)
def test_a_fate_says_how_much_may_be_there(fate: Fate, parts: int, wrong: bool) -> None:
    history = History()
    operation = begun(history, action="halves", parts=2)
    operation.fate = fate
    entries = [operation.entry(part + 1) for part in range(parts)]

    assert bool(check(history, {"a": book(*entries)})) is wrong


def test_an_end_without_its_beginning_is_seen() -> None:
    history = History()
    begun(history, action="halves", parts=2)

    (violation,) = check(history, {"a": book("1.2")})

    assert "in its end and not in its beginning" in violation


def test_a_fate_does_not_change() -> None:
    history = History()
    operation = begun(history)
    failed(history, operation, "user", "refused")
    history.acknowledge(operation, 1)

    assert "add 1 of a was refused, then acknowledged" in check(history, {"a": book("1.1")})


def test_an_error_that_nobody_expects_is_a_violation() -> None:
    history = History()
    failed(history, begun(history), "internal", "internal_error")

    assert len(check(history, {"a": book()})) == 1


@pytest.mark.parametrize("keys", [(), ("1.1", "2.1")])
def test_state_and_kv_change_together(keys: tuple[str, ...]) -> None:
    history = History()
    history.acknowledge(begun(history), 1)

    assert len(check(history, {"a": book("1.1", keys=keys)})) == 1


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((), "missing ['a:1.1:0', 'a:1.1:1']"),
        (("a:1.1:0",), "missing ['a:1.1:1']"),
        (("a:1.1:0", "a:1.1:1", "a:1.1:1"), "too many ['a:1.1:1']"),
        (("a:1.1:1", "a:1.1:0"), "a:1.1:0 before a:1.1:1"),
        (("a:1.1:0", "a:1.1:1", "a:2.1:0"), "too many ['a:2.1:0']"),
    ],
)
def test_sends_take_effect_once_and_in_order(messages: tuple[str, ...], words: str) -> None:
    history = History()
    history.acknowledge(begun(history, action="tell", targets=["b", "b"]), 1)
    failed(history, begun(history, action="refuse", targets=["b"]), "user", "refused")
    books = {"a": book("1.1"), "b": book(messages=messages)}

    (violation,) = check(history, books)

    assert words in violation


@pytest.mark.parametrize(
    ("fate", "messages", "wrong"),
    [
        (Fate.ACKNOWLEDGED, ("gone:1.1:0",), False),
        (Fate.ACKNOWLEDGED, (), True),
        (Fate.UNKNOWN, (), False),
        (Fate.UNKNOWN, ("gone:1.1:0",) * 2, True),
        (Fate.ACKNOWLEDGED, ("gone:1.1:0", "gone:7.1:0"), True),
    ],
)
def test_messages_outlive_their_sender(fate: Fate, messages: tuple[str, ...], wrong: bool) -> None:
    history = History()
    begun(history, ledger="gone", action="farewell", targets=["b"]).fate = fate

    assert bool(check(history, {"b": book(messages=messages)})) is wrong


def test_a_buffered_entry_may_be_lost_but_not_doubled() -> None:
    history = History()
    history.acknowledge(begun(history, action="note", buffered=True), 1)

    assert check(history, {"a": book()}) == []
    assert len(check(history, {"a": book("1.1", "1.1")})) == 1


def test_every_try_is_answered_with_the_same_bytes() -> None:
    history = History()
    operation = begun(history)
    for _ in range(2):
        history.acknowledge(operation, 1)
        history.answer(operation, b"1")
    assert check(history, {"a": book("1.1")}) == []

    history.answer(operation, b"2")

    assert len(check(history, {"a": book("1.1")})) == 1
