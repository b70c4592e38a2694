"""The life of an activation as a table: what each event does in each state.

Whichever of sleep and destroy comes first wins: a sleep asked of an actor that is
being destroyed changes nothing, a destroy asked of one that goes to sleep is
refused. An actor that is gone may come again, as another activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """Where an activation is in its life."""

    # Its hooks of creation or waking run; no action does.
    STARTING = "starting"
    AWAKE = "awake"
    # The abort signal is set, on_sleep and what is left of background work run.
    SLEEPING = "sleeping"
    # The turn that destroys it runs.
    DESTROYING = "destroying"
    # It is no more in memory, or what is in memory is no more true.
    GONE = "gone"


class Event(Enum):
    """What happens to an activation."""

    STARTED = "started"
    SLEEP = "sleep"
    DESTROY = "destroy"
    # The turn that destroys it has failed; what was told to stop has to stop.
    UNDONE = "undone"
    # It has left memory, is deleted, or could not start.
    ENDED = "ended"
    # The store has failed: its memory may be ahead of the disk.
    LOST = "lost"


_TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.STARTING: {
        Event.STARTED: State.AWAKE,
        Event.DESTROY: State.DESTROYING,
        Event.ENDED: State.GONE,
        Event.LOST: State.GONE,
    },
    State.AWAKE: {
        Event.SLEEP: State.SLEEPING,
        Event.DESTROY: State.DESTROYING,
        Event.LOST: State.GONE,
    },
    State.SLEEPING: {
        Event.SLEEP: State.SLEEPING,
        Event.ENDED: State.GONE,
        Event.LOST: State.GONE,
    },
    State.DESTROYING: {
        Event.SLEEP: State.DESTROYING,
        Event.DESTROY: State.DESTROYING,
        Event.UNDONE: State.SLEEPING,
        Event.ENDED: State.GONE,
        Event.LOST: State.GONE,
    },
    State.GONE: {
        Event.SLEEP: State.GONE,
        Event.ENDED: State.GONE,
        Event.LOST: State.GONE,
    },
}


def following(state: State, event: Event) -> State | None:
    """The state after `event`; None when it is refused in this state."""
    return _TABLE[state].get(event)
