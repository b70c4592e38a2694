"""The chat in the terminal: what two people see of each other, through kills of the server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from examples.chat.app import TEXT_CHARS_MAX, USER_CHARS_MAX, ChatRoom
from holdfast import Client
from tests.server_process import ROOT, ServerProcess, environment

EXAMPLE = "chat"
LINES = 60


class Person:
    """Somebody at a terminal of their own, and what they have seen so far."""

    def __init__(self, address: str, *arguments: str) -> None:
        self.seen: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.chat.terminal", *arguments],
            cwd=ROOT,
            env=environment(HOLDFAST_SERVER=address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, end: str) -> list[str]:
        """Read on to a line that ends in this; what came, without that line."""
        assert self.process.stdout is not None
        came: list[str] = []
        for text in self.process.stdout:
            line = text.rstrip("\n")
            self.seen.append(line)
            if line.endswith(end):
                return came
            came.append(line)
        pytest.fail(f"{end!r} never came: {self.seen}")

    def leave(self) -> list[str]:
        """End the input and read to the end; all that was seen."""
        rest, _ = self.process.communicate()
        self.seen += rest.splitlines()
        assert self.process.returncode == 0, self.seen
        return self.seen

    def said(self) -> list[str]:
        """The messages seen, as they were shown."""
        return [line for line in self.seen if re.match(r" *\d+ ", line)]


Come = Callable[..., Person]


@pytest.fixture
def come(server: ServerProcess) -> Iterator[Come]:
    """Let somebody come in, and wait until they are there."""
    people: list[Person] = []

    def person(user: str, *arguments: str) -> Person:
        people.append(Person(server.address, user, *arguments))
        people[-1].until("(/help for help)")
        return people[-1]

    yield person
    for each in people:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def test_two_people_talk_and_see_each_other_come_and_go(come: Come) -> None:
    ada = come("ada")
    grace = come("grace")
    ada.until("* grace comes in")
    ada.type("hello")
    grace.until("   1 ada: hello")
    grace.type("hi")
    ada.until("   2 grace: hi")
    ada.type("/who")
    ada.until("-- here: ada, grace (/help for help)")

    grace.type("/quit")

    ada.until("* grace leaves")
    grace.leave()
    ada.type("/who")
    ada.until("-- here: ada (/help for help)")
    assert ada.leave().count("   1 ada: hello") == 1


def test_who_comes_later_reads_what_was_said(come: Come) -> None:
    ada = come("ada")
    for number in range(25):
        ada.type(f"line {number}")
    ada.until("ada: line 24")

    grace = come("grace")

    assert grace.said() == [f"{number + 1:>4} ada: line {number}" for number in range(5, 25)]
    grace.type("/history 2")
    assert grace.until("ada: line 24") == ["  24 ada: line 23"]
    grace.type(f"/history {10**12}")
    assert len(grace.until("ada: line 24")) == 24


def test_a_second_terminal_of_somebody_does_not_come_or_leave(come: Come) -> None:
    ada = come("ada")
    grace = come("grace")
    again = come("grace")

    again.leave()
    ada.type("is grace here?")
    grace.until("is grace here?")
    ada.type("/who")
    ada.until("-- here: ada, grace (/help for help)")

    assert [line for line in ada.seen if line.startswith("*")] == ["* grace comes in"]


def test_private_words_reach_one_person_alone(come: Come) -> None:
    ada, grace, eve = come("ada"), come("grace"), come("eve")

    ada.type("/msg grace meet me at noon")
    ada.type("that is all")

    for each in (grace, eve, ada):
        each.until("ada: that is all")
    assert "(ada in private) meet me at noon" in grace.seen
    assert "(to grace in private) meet me at noon" in ada.seen
    assert not [line for line in eve.seen if "noon" in line]
    assert not [line for line in come("bob").seen if "noon" in line]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/msg nobody hello", "!! nobody is not here"),
        ("/msg", "!! a message has 1 to 2000 characters"),
        ("/msg grace", "!! a message has 1 to 2000 characters"),
        ("x" * (TEXT_CHARS_MAX + 1), "!! a message has 1 to 2000 characters"),
        ("/dance", "-- /quit              leave; so does the end of the input"),
    ],
)
def test_what_cannot_be_done_is_explained(come: Come, typed: str, shown: str) -> None:
    ada = come("ada")

    ada.type(typed)

    ada.until(shown)
    ada.type("")
    ada.type("and on")
    ada.until("   1 ada: and on")
    assert ada.said() == ["   1 ada: and on"]


def test_a_name_that_is_none_is_refused_in_one_line(server: ServerProcess) -> None:
    for name in ("", "x" * (USER_CHARS_MAX + 1)):
        person = Person(server.address, name)
        output, _ = person.process.communicate()
        assert person.process.returncode == 1
        assert output.splitlines()[-1] == "!! a name has 1 to 64 characters"
        assert "Traceback" not in output


async def test_a_room_that_is_destroyed_ends_the_terminal(
    server: ServerProcess, come: Come
) -> None:
    ada = come("ada")
    async with Client(server.address) as client:
        await client.destroy(ChatRoom, ["org-acme", "general"])

    ada.until("-- closed")

    # The input is still open: nobody has to type to be told.
    assert ada.process.stdout is not None
    (last,) = ada.process.stdout.read().splitlines()
    assert last.startswith("!! ")
    assert ada.process.wait() == 1


def test_a_kill_loses_no_line_and_doubles_none(server: ServerProcess, come: Come) -> None:
    ada, grace = come("ada"), come("grace")
    ada.until("* grace comes in")

    for number in range(LINES):
        ada.type(f"a{number}")
        grace.type(f"g{number}")
    grace.until(f"g{LINES // 4}")
    server.kill()
    ada.until("-- the server is away")
    ada.type("typed while the server was away")
    server.start()

    grace.until("ada: typed while the server was away")
    ada.type("/who")
    ada.until("-- here: ada, grace (/help for help)")
    grace.type("end")
    ada.until("grace: end")
    grace.until("grace: end")

    said = grace.said()
    assert ada.said() == said
    assert [int(line.split()[0]) for line in said] == list(range(1, len(said) + 1))
    texts = [line.split(maxsplit=1)[1] for line in said]
    assert [text for text in texts if text.startswith("ada")] == [
        *(f"ada: a{number}" for number in range(LINES)),
        "ada: typed while the server was away",
    ]
    assert [text for text in texts if text.startswith("grace")] == [
        *(f"grace: g{number}" for number in range(LINES)),
        "grace: end",
    ]
    assert "* grace leaves" not in ada.seen
