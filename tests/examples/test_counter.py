"""The counter: its client's output, what it remembers, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from examples.counter.app import Counter
from holdfast import ActorError, Client
from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "counter"


def test_the_client_counts_and_is_refused(server: ServerProcess) -> None:
    assert run_client(server, EXAMPLE) == [
        "visits: 1",
        "visits: 2",
        "visits: 3",
        "refused: not_positive {'by': -1}",
        "still: 3",
    ]


def test_it_goes_on_where_it_was_after_a_kill(server: ServerProcess) -> None:
    run_client(server, EXAMPLE)
    server.kill()
    server.start()

    assert run_client(server, EXAMPLE)[0] == "visits: 4"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([0], "not_positive"),
        (["two"], "invalid_argument"),
        ([1.5], "invalid_argument"),
        ([None], "invalid_argument"),
        ([1, 2], "invalid_argument"),
    ],
)
async def test_bad_arguments_change_nothing(
    client: Client, own: str, arguments: list[Any], code: str
) -> None:
    counter = client.get_or_create(Counter, [own])

    with pytest.raises(ActorError) as caught:
        await counter.action("increment", *arguments)

    assert caught.value.code == code
    assert await counter.value() == 0
