"""The rate limiter on a real server; more of it is tested in `examples/rate_limiter`."""

from __future__ import annotations

from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "rate_limiter"


def test_the_client_is_limited_and_let_through_again(server: ServerProcess) -> None:
    first, *rest = run_client(server, EXAMPLE)
    assert first.startswith("ada: ['yes', 'yes', 'yes', 'yes', 'yes', ")
    assert rest == [
        "a little later: True",
        "mallory: False",
        "others: 40 of 40",
        "shards in use: True",
    ]
