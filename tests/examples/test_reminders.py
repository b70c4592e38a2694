"""The reminders on a real server; what they do in a year is in `examples/reminders`."""

from __future__ import annotations

from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "reminders"


def test_the_client_hears_two_and_has_two_left(server: ServerProcess) -> None:
    assert run_client(server, EXAMPLE) == [
        "pending: ['tea', 'bread', 'take your pills', 'see the doctor']",
        "rang: tea",
        "rang: bread",
        "still pending: ['take your pills', 'see the doctor']",
        "in the inbox: ['tea', 'bread']",
    ]
