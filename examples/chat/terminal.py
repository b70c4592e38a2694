"""A chat in the terminal.

    python -m examples.chat.terminal ada
    python -m examples.chat.terminal grace org-acme general

It connects to the room of the server at HOLDFAST_SERVER, by default 127.0.0.1:6430. Kill the
server and start it again: the terminal says so, and goes on with what was said meanwhile;
no line is lost and none comes twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

from examples.chat.app import ChatRoom, Message
from holdfast import ActorError, Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
HELP = """/who               who is here
/msg USER TEXT     tell one of them something in private
/history [COUNT]   the last messages again
/help              this
/quit              leave; so does the end of the input"""


async def main(user: str, organisation: str, name: str, server: str = SERVER) -> None:
    """Connect, show the last messages, then say what is typed until it ends."""
    async with Client(server) as client:
        connection = client.get_or_create(ChatRoom, [organisation, name]).connect(
            params={"user": user}
        )
        connection.on("whisper", lambda sender, text: show(f"({sender} in private) {text}"))
        connection.on("joined", lambda who: show(f"* {who} comes in"))
        connection.on("left", lambda who: show(f"* {who} leaves"))
        connection.on_status_change(lambda status: show(f"-- {status}"))
        async with connection as room:
            terminal = Terminal(room)
            await terminal.run()


class Terminal:
    """What one person sees and types."""

    def __init__(self, room: ChatRoom) -> None:
        self._room = room
        # The last message that stands on the screen.
        self._shown = 0

    async def run(self) -> None:
        """Listen and speak until the input ends."""
        # Listening begins before the history is read: what is said between the two comes
        # both ways, and its number tells.
        self._room.on("message", self.show_message)
        for message in await self._room.history(20):
            self.show_message(message)
        show(f"-- here are: {', '.join(await self._room.present())} (/help for help)")
        async for line in lines():
            try:
                if not await self.obey(line):
                    return
            except ActorError as error:
                show(f"!! {error.message}")

    def show_message(self, message: Message) -> None:
        """Show a message that is not on the screen yet."""
        if message.number > self._shown:
            self._shown = message.number
            show(f"{message.number:>4} {message.user}: {message.text}")

    async def obey(self, line: str) -> bool:
        """Do what was typed; False when it was the last."""
        word, _, rest = line.partition(" ")
        if word == "/quit":
            return False
        if word == "/who":
            show(f"-- here are: {', '.join(await self._room.present())}")
        elif word == "/msg":
            to, _, text = rest.partition(" ")
            await self._room.whisper(to, text)
        elif word == "/history":
            for message in await self._room.history(int(rest) if rest.isdigit() else 20):
                show(f"{message.number:>4} {message.user}: {message.text}")
        elif word == "/help" or line.startswith("/"):
            show(HELP)
        elif line:
            await self._room.say(line)
        return True


async def lines() -> AsyncIterator[str]:
    """What is typed, line by line."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield line.strip()


def show(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat in the terminal.")
    parser.add_argument("user", help="your name")
    parser.add_argument("organisation", nargs="?", default="org-acme")
    parser.add_argument("room", nargs="?", default="general")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(options.user, options.organisation, options.room))
