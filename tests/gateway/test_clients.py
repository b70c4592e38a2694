"""RivetKit's clients, unmodified, against a running server: every version in every encoding."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.clients import TAGGED, VERSIONS, need_clients, run_script
from tests.gateway.conftest import Start

NOT_TODAY = ["user.closed", {"until": [1, None]}]
BANNED = ["user.banned", {"for": "ever"}]
# As each is seen on both ways, over HTTP and over a connection.
VALUES: dict[str, Any] = {
    "integers": [0, -1, 2**31, 2**32, 2**53 - 1, 1764000000123],
    "fractions": [0.5, -2.25],
    "bigint": f"{2**70}n",
    "texts": ["", "zoë", "💥"],
    "none": [None, True],
    "bytes": {"bytes": [0, 1, 255]},
    "nested": {"a": [{"b": []}], "c": {}},
    "likeTag": ["$x", 1],
    "undefined": None,
}


def expected(version: str, encoding: str) -> dict[str, Any]:
    """What comes of each scenario."""
    return {
        "keys": [5, 7, 7],
        "create": [42, "actor.duplicate_key", 10],
        "byId": [3, 3],
        "missing": "actor.not_found",
        "errors": [NOT_TODAY, "internal.internal_error", "action.not_found"],
        "params": ["zoë", BANNED],
        "values": {name: [value, value] for name, value in VALUES.items()},
        "marked": ["5n", 5, f"{2**60}n"],
        "events": [[1, 2, 3], [1], [1]],
        "pipelined": 300,
        "connectionErrors": [NOT_TODAY, "internal.internal_error", "action.not_found", 0],
        "turnedAway": BANNED,
        "shownOut": ["ada", "ada"],
        "destroyed": 1,
        "large": [200_000, "message.incoming_too_long"],
        "fetched": [207, "mine", "POST", "/a%20b", "raw", "ada", 400, "refused"],
        "rawSocket": [[4001, "bye"], 2, "ping"],
        "aborted": True,
    }


@pytest.mark.parametrize("encoding", ["json", "cbor", "bare"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_does_everything(start: Start, version: str, encoding: str) -> None:
    need_clients()
    server = await start()
    endpoint = f"http://127.0.0.1:{server.http_port}"

    outcomes = await asyncio.to_thread(
        run_script, "scenarios.mjs", version, endpoint, encoding, "front end"
    )

    assert outcomes == expected(version, encoding)


async def test_a_client_by_another_base(start: Start) -> None:
    need_clients()
    server = await start()
    endpoint = f"http://127.0.0.1:{server.http_port}/api/rivet"

    outcomes = await asyncio.to_thread(
        run_script, "scenarios.mjs", TAGGED[-1], endpoint, "bare", "front end"
    )

    assert outcomes == expected(TAGGED[-1], "bare")
