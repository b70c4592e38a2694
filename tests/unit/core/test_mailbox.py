"""Who may run beside whom, and that nobody is overtaken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.mailbox import Bounds, Mailbox, MailboxFull, Mode

EXCLUSIVE, INTERLEAVED, READ_ONLY = Mode.EXCLUSIVE, Mode.INTERLEAVED, Mode.READ_ONLY


def test_exclusive_turns_run_one_at_a_time_in_order() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(10, 10))

    assert mailbox.offer("a", EXCLUSIVE)
    assert not mailbox.offer("b", EXCLUSIVE)
    assert not mailbox.offer("c", EXCLUSIVE)
    assert mailbox.release("a", EXCLUSIVE) == ["b"]
    assert mailbox.release("b", EXCLUSIVE) == ["c"]


def test_neither_kind_overtakes_the_other() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(10, 10))
    assert mailbox.offer("i1", INTERLEAVED)
    assert mailbox.offer("i2", INTERLEAVED)
    assert not mailbox.offer("e", EXCLUSIVE)

    assert not mailbox.offer("i3", INTERLEAVED)

    assert mailbox.release("i1", INTERLEAVED) == []
    assert mailbox.release("i2", INTERLEAVED) == ["e"]
    assert mailbox.release("e", EXCLUSIVE) == ["i3"]


def test_read_only_turns_never_wait() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(10, 1))
    assert mailbox.offer("e", EXCLUSIVE)

    assert mailbox.offer("r", READ_ONLY)
    with pytest.raises(MailboxFull):
        mailbox.offer("s", READ_ONLY)
    assert mailbox.release("r", READ_ONLY) == []
    assert mailbox.offer("s", READ_ONLY)


def test_a_full_mailbox_takes_no_more() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(1, 10))
    mailbox.offer("a", EXCLUSIVE)
    mailbox.offer("b", EXCLUSIVE)

    with pytest.raises(MailboxFull):
        mailbox.offer("c", EXCLUSIVE)


def test_a_turn_that_no_longer_waits_lets_the_next_through() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(10, 10))
    mailbox.offer("i1", INTERLEAVED)
    mailbox.offer("e", EXCLUSIVE)
    mailbox.offer("i2", INTERLEAVED)

    assert mailbox.withdraw("e") == ["i2"]


def test_a_turn_that_joins_runs_beside_its_waiter() -> None:
    mailbox: Mailbox[str] = Mailbox(Bounds(10, 10))
    mailbox.offer("a", EXCLUSIVE)
    mailbox.offer("b", EXCLUSIVE)

    assert mailbox.offer("a's own", INTERLEAVED, joins=True)

    assert mailbox.release("a's own", INTERLEAVED) == []
    assert mailbox.release("a", EXCLUSIVE) == ["b"]


@given(
    st.lists(st.sampled_from([EXCLUSIVE, INTERLEAVED, READ_ONLY, None]), min_size=1, max_size=80),
    st.randoms(use_true_random=False),
)
def test_every_turn_runs_once_and_never_beside_one_that_excludes_it(
    script: list[Mode | None], random: object
) -> None:
    mailbox: Mailbox[int] = Mailbox(Bounds(1000, 1000))
    modes: dict[int, Mode] = {}
    running: list[int] = []
    ran: list[int] = []

    def admit(turns: list[int]) -> None:
        running.extend(turns)
        ran.extend(turns)
        holding = [modes[turn] for turn in running if modes[turn] is not READ_ONLY]
        assert EXCLUSIVE not in holding or len(holding) == 1

    def end(turn: int) -> None:
        running.remove(turn)
        admit(mailbox.release(turn, modes[turn]))

    for number, mode in enumerate(script):
        if mode is not None:
            modes[number] = mode
            admit([number] if mailbox.offer(number, mode) else [])
        elif running:
            end(random.choice(running))  # type: ignore[attr-defined]
    while running:
        end(running[0])
    waited = [turn for turn in ran if modes[turn] is not READ_ONLY]
    assert waited == sorted(waited)
    assert sorted(ran) == sorted(modes)
    assert mailbox.idle
