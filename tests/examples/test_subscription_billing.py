"""Subscriptions on a real server; their years are tested in `examples/subscription_billing`."""

from __future__ import annotations

from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "subscription_billing"


def test_the_client_pays_a_month_and_cancels(server: ServerProcess) -> None:
    assert run_client(server, EXAMPLE) == [
        "status: trial",
        "status: active",
        "paid: [('basic', 900)]",
        "days until the next: True",
        "ends at the end of the month: True",
        "refused: subscribed",
    ]
