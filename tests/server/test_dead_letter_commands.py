"""`holdfast dead-letters` against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.server.conftest import Start
from tests.server.test_command_line import Outcome, invoke
from tests.server.test_dead_letters import Ear, Mouth, registry


async def test_letters_are_listed_sent_again_and_discarded(start: Start) -> None:
    server, client = await start(registry, outbox_attempts_max=2, outbox_backoff_s=0.001)
    before = ("--server", f"127.0.0.1:{server.port}", "--json", "dead-letters")

    async def run(*arguments: str) -> Outcome:
        return await asyncio.to_thread(invoke, *before, *arguments)

    ear = client.get_or_create(Ear, ["e"])
    await ear.close(True)
    await client.get_or_create(Mouth, ["m"]).say("e", "one", "two")
    lines: list[Any] = []
    while len(lines) < 2:
        lines = (await run("list")).lines
    assert (await run("list", "--limit", "1")).lines == lines[:1]
    assert [line["args"] for line in lines] == [["one"], ["two"]]
    assert lines[0]["sender"] == {"name": "mouth", "key": ["m"]}
    await ear.close(False)
    assert (await run("resend", lines[1]["dead_letter_id"])).code == 0
    while await ear.texts() != ["two"]:
        pass
    assert (await run("discard", lines[0]["dead_letter_id"])).code == 0
    assert (await run("list")).lines == []
    again = await run("discard", lines[0]["dead_letter_id"])
    assert (again.code, again.error["reason"]) == (1, "DEAD_LETTER_NOT_FOUND")
