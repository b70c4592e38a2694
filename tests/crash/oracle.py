"""The rules: what may be found in the ledgers after what the clients were told.

Pure: a history and the ledgers' contents in, sentences about what is wrong out.
Rules, each of which `test_oracle.py` sees broken:

- an entry belongs to an operation on this ledger, and is there at most once;
- what a client was told to be at a position is there (nothing acknowledged or
  shown was lost);
- an acknowledged operation is there whole, a refused one not at all, an
  interrupted one in part; of an unknown one the first entries may be there;
- the KV holds exactly the entries (a turn is atomic);
- the messages from a ledger to another are those that its entries have sent,
  each once, in the order of the sends;
- every try of a key was given the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from tests.crash.actors import Found
from tests.crash.history import Fate, History, Operation

Books = Mapping[str, Found]


def check(history: History, books: Books) -> list[str]:
    """Everything that is wrong; empty when nothing is."""
    rules: tuple[Callable[[History, Books], Iterator[str]], ...] = (
        _each_entry_once,
        _sightings_hold,
        _fates_hold,
        _state_and_kv_agree,
        _sends_arrived,
        _answers_are_equal,
    )
    found = list(history.violations)
    for rule in rules:
        found += rule(history, books)
    return found


def _each_entry_once(history: History, books: Books) -> Iterator[str]:
    for ledger, book in books.items():
        for entry, times in Counter(book.entries).items():
            tag, _, part = entry.partition(".")
            operation = history.operations.get(int(tag))
            if operation is None or operation.ledger != ledger:
                yield f"{ledger} holds {entry}, which nobody asked of it"
            elif not 1 <= int(part) <= operation.parts:
                yield f"{operation} has only {operation.parts} parts, and {entry} is there"
            if times > 1:
                yield f"{entry} of {ledger} took effect {times} times"


def _sightings_hold(history: History, books: Books) -> Iterator[str]:
    for ledger, position, entry, by in history.sightings:
        book = books.get(ledger)
        if book is None:
            continue
        at = book.entries[position - 1] if position <= len(book.entries) else "nothing"
        if at != entry:
            yield f"{by} told that {entry} is at {position} of {ledger}; there is {at}"


def _fates_hold(history: History, books: Books) -> Iterator[str]:
    present = {entry for book in books.values() for entry in book.entries}
    for operation in history.operations.values():
        if operation.ledger not in books:
            continue
        there = [operation.entry(part) in present for part in range(1, operation.parts + 1)]
        count = sum(there)
        if there != sorted(there, reverse=True):
            yield f"{operation} took effect in its end and not in its beginning"
        wrong = {
            Fate.ACKNOWLEDGED: count < operation.parts and not operation.buffered,
            Fate.REFUSED: count > 0,
            # A stream stores "started" before its first entry, and may have
            # written its last one when it is cut short.
            Fate.INTERRUPTED: operation.action != "count" and not 0 < count < operation.parts,
            Fate.UNKNOWN: False,
        }
        if wrong[operation.fate]:
            yield (
                f"{operation} was {operation.fate.value}; "
                f"{count} of its {operation.parts} parts are there"
            )


def _state_and_kv_agree(history: History, books: Books) -> Iterator[str]:
    for ledger, book in books.items():
        state, stored = set(book.entries), set(book.keys)
        for entry in sorted(state - stored):
            yield f"{entry} is in the state of {ledger} and not in its KV"
        for entry in sorted(stored - state):
            yield f"{entry} is in the KV of {ledger} and not in its state"


def sent(history: History, books: Books) -> dict[tuple[str, str], list[str]]:
    """The messages from ledger to ledger that the entries which are there have sent."""
    found: dict[tuple[str, str], list[str]] = {}
    for sender, book in books.items():
        for entry in book.entries:
            operation = history.operations.get(int(entry.partition(".")[0]))
            for index, target in enumerate(operation.targets if operation else ()):
                found.setdefault((sender, target), []).append(f"{sender}:{entry}:{index}")
    return found


def received(books: Books) -> dict[tuple[str, str], list[str]]:
    """The messages from ledger to ledger that have taken effect."""
    found: dict[tuple[str, str], list[str]] = {}
    for target, book in books.items():
        for message in book.messages:
            found.setdefault((message.partition(":")[0], target), []).append(message)
    return found


def _sends_arrived(history: History, books: Books) -> Iterator[str]:
    wanted, arrived = sent(history, books), received(books)
    for sender, target in sorted(wanted.keys() | arrived.keys()):
        if sender not in books:
            # It was destroyed; its messages are judged by its operations.
            continue
        want, got = wanted.get((sender, target), []), arrived.get((sender, target), [])
        if want != got:
            yield f"{sender} has sent {target} {_difference(want, got)}"
    yield from _farewells(history, books, arrived)


def _farewells(
    history: History, books: Books, arrived: Mapping[tuple[str, str], list[str]]
) -> Iterator[str]:
    """Messages of ledgers that were destroyed in the turn that sent them."""
    got = Counter(
        message
        for (sender, _), messages in arrived.items()
        if sender not in books
        for message in messages
    )
    for operation in history.operations.values():
        if operation.ledger in books:
            continue
        for message in messages_of(operation):
            times = got.pop(message, 0)
            if times > 1 or (times == 0 and operation.fate is Fate.ACKNOWLEDGED):
                yield f"the message of {operation} took effect {times} times"
    for message in got:
        yield f"the message {message} took effect, and nobody sent it"


def messages_of(operation: Operation) -> list[str]:
    """What a whole run of an operation sends."""
    return [
        f"{operation.ledger}:{operation.entry(part)}:{index}"
        for part in range(1, operation.parts + 1)
        for index in range(len(operation.targets))
    ]


def _difference(want: list[str], got: list[str]) -> str:
    missing, extra = Counter(want) - Counter(got), Counter(got) - Counter(want)
    if missing or extra:
        lost, doubled = sorted(missing.elements())[:5], sorted(extra.elements())[:5]
        return f"{len(want)} messages: missing {lost}, too many {doubled}"
    first = next(i for i, pair in enumerate(zip(want, got, strict=True)) if pair[0] != pair[1])
    return f"{want[first]} before {got[first]}, and it came after"


def _answers_are_equal(history: History, books: Books) -> Iterator[str]:
    for operation in history.operations.values():
        if len(operation.answers) > 1:
            yield f"{operation} was given different answers: {operation.answers[:3]}"
