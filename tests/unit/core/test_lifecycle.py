"""The life of an activation: what comes first wins, and gone is gone."""

import pytest

from holdfast_server.core.lifecycle import Event, State, following

AWAKE, SLEEPING, DESTROYING = State.AWAKE, State.SLEEPING, State.DESTROYING


@pytest.mark.parametrize(
    ("state", "events", "after"),
    [
        (State.STARTING, [Event.STARTED, Event.SLEEP, Event.ENDED], State.GONE),
        (State.STARTING, [Event.STARTED, Event.DESTROY, Event.ENDED], State.GONE),
        (State.STARTING, [Event.DESTROY, Event.ENDED], State.GONE),
        # A second sleep, and a sleep that comes after a destroy, change nothing.
        (AWAKE, [Event.SLEEP, Event.SLEEP], SLEEPING),
        (AWAKE, [Event.DESTROY, Event.SLEEP], DESTROYING),
        (AWAKE, [Event.DESTROY, Event.DESTROY], DESTROYING),
        # What was told to stop has to, also if the destroy has failed.
        (AWAKE, [Event.DESTROY, Event.UNDONE], SLEEPING),
        (State.GONE, [Event.SLEEP, Event.ENDED, Event.LOST], State.GONE),
    ],
)
def test_events_in_order(state: State, events: list[Event], after: State) -> None:
    for event in events:
        found = following(state, event)
        assert found is not None
        state = found
    assert state is after


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.STARTING, Event.SLEEP),
        (SLEEPING, Event.DESTROY),
        (State.GONE, Event.DESTROY),
        (State.GONE, Event.STARTED),
        (AWAKE, Event.STARTED),
        (AWAKE, Event.UNDONE),
    ],
)
def test_what_is_refused(state: State, event: Event) -> None:
    assert following(state, event) is None


@pytest.mark.parametrize("state", State)
def test_a_failed_store_ends_every_life(state: State) -> None:
    assert following(state, Event.LOST) is State.GONE


@pytest.mark.parametrize("event", Event)
def test_nothing_comes_back(event: Event) -> None:
    assert following(State.GONE, event) in (None, State.GONE)
