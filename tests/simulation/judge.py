"""What must hold at the end of a simulation, whatever happened in it.

Pure but for `linear`'s search: a journal and what was found in, sentences about what is
wrong out. For ledgers the rules of the crash tests hold; beyond them:

- the calls of a cell are linearizable;
- the n-th event of a ledger tells its n-th entry, a reader misses none without being told,
  and gets none twice;
- an echo is heard once, in the order in which the room has sent them, and by a connection that
  lasted each that was sent before an answer;
- `on_connect` and `on_disconnect` ran once for each connection;
- each tick of a job took effect once, and none is missing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.crash.actors import Found
from tests.crash.oracle import check as check_ledgers
from tests.simulation.actors import Guests
from tests.simulation.journal import Journal
from tests.simulation.linear import Call, Undecided, check


class Findings(NamedTuple):
    """What is there when all has settled."""

    books: Mapping[str, Found]
    guests: Guests
    fires: list[tuple[str, float, int]]
    # Whether readers may have missed events that are no longer kept.
    trims: bool


def judge(journal: Journal, found: Findings) -> list[str]:
    """Everything that is wrong; empty when nothing is."""
    wrong = check_ledgers(journal, found.books)
    wrong += _cells(journal)
    wrong += _events(journal, found)
    wrong += _echoes(journal, found)
    wrong += _connections(found.guests)
    wrong += _ticks(found.fires)
    return wrong


State = tuple[int, str | None] | None


def cell(state: State, call: Call) -> tuple[State, Any]:
    """The model of a cell: nothing, or a number and an entry."""
    if call.action == "destroy":
        return None, ("actor", "not_found") if state is None else True
    value, entry = (0, None) if state is None else state
    number = call.args[0] if call.args else 0
    match call.action:
        case "add" | "slow_add":
            return (value + number, entry), value + number
        case "swap":
            old, new = call.args
            return (new if old == value else value, entry), old == value
        case "value":
            return (value, entry), value
        case "put":
            return (value, number), entry
        case "entry":
            return (value, entry), entry
        case "fail":
            return (value, entry), ("user", "asked")
        case "post":
            return (value, entry), None
    raise AssertionError(call.action)


def _cells(journal: Journal) -> Iterator[str]:
    for name, calls in journal.cells.items():
        try:
            why = check(calls, cell, None)
        except Undecided as error:
            journal.note("undecided", name, error)
            continue
        if why:
            yield f"cell {name}: {why}"


def _events(journal: Journal, found: Findings) -> Iterator[str]:
    for reading in journal.readings:
        entries = found.books[reading.ledger].entries
        before = 0
        for index, (number, entry, position) in enumerate(reading.events):
            if number != position or entries[position - 1 : position] != [entry]:
                yield (
                    f"event {number} of {reading.ledger} tells {entry} at {position}; "
                    f"there is {entries[position - 1 : position]}"
                )
            if before and number != before + 1:
                gap = found.trims and index in reading.gaps and number > before
                if not gap:
                    yield f"event {number} of {reading.ledger} came after {before}"
            before = number
        if reading.gaps and not found.trims:
            yield f"a reader of {reading.ledger} was told of a gap"


def _echoes(journal: Journal, found: Findings) -> Iterator[str]:
    for visit in journal.visits:
        tags = [tag for tag, _ in visit.echoes]
        twice = [tag for tag, count in Counter(tags).items() if count > 1]
        if twice:
            yield f"the echoes of {twice} came more than once"
        positions = [position for _, position in visit.echoes]
        if positions != sorted(positions):
            yield f"the echoes came out of order: {visit.echoes}"
        lasted = visit.opened == 1 and visit.stayed and not visit.trimmed
        missing = sorted(set(visit.acknowledged) - set(tags))
        if lasted and missing:
            yield f"the echoes of {missing} did not come"
    said = Counter(found.guests.said)
    acknowledged = {tag for visit in journal.visits for tag in visit.acknowledged}
    if max(said.values(), default=1) > 1 or acknowledged - said.keys():
        yield f"of {sorted(acknowledged)} the room has heard {found.guests.said}"


def _connections(guests: Guests) -> Iterator[str]:
    for what, ids in (("on_connect", guests.came), ("on_disconnect", guests.went)):
        twice = [each for each, count in Counter(ids).items() if count > 1]
        if twice:
            yield f"{what} ran twice for {twice}"
    if set(guests.came) != set(guests.went):
        yield f"came {sorted(guests.came)}, and went {sorted(guests.went)}"


def _ticks(fires: list[tuple[str, float, int]]) -> Iterator[str]:
    twice = [fire for fire, count in Counter(fire for fire, _, _ in fires).items() if count > 1]
    if twice:
        yield f"the fires {twice} took effect more than once"
    for (_, before, _), (_, at, missed) in itertools.pairwise(fires):
        if at != before + 5 * (1 + missed):
            yield f"a tick at {at} came after {before}, with {missed} missed"


__all__ = ["Findings", "cell", "judge"]
