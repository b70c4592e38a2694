"""A chat in the terminal.

    python -m examples.chat.terminal ada
    python -m examples.chat.terminal grace org-acme general

It connects to the room of the server at HOLDFAST_SERVER, by default 127.0.0.1:6430. Kill the
server and start it again: the terminal says so, shows what was said meanwhile, and sends what
you typed meanwhile; no line is lost and none comes twice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

from examples.chat.app import ChatRoom, Message
from holdfast import ActorError, Client, DeliveredEvent, EventsTrimmed, HoldfastError

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
HISTORY = 20
STATUS = {
    "connecting": "-- connecting",
    "connected": "-- connected",
    "disconnected": "-- the server is away",
    "closed": "-- closed",
}
HELP = """-- /who               who is here
-- /msg USER TEXT     tell one of them something in private
-- /history [COUNT]   the last messages again
-- /help              this
-- /quit              leave; so does the end of the input"""


async def main(user: str, organisation: str, name: str, server: str = SERVER) -> None:
    """Connect, then show what is said and say what is typed, until the input ends."""
    # Without a timeout a call waits for the server however long it is away. Its retries
    # have one key, so that it takes effect once.
    async with Client(server, timeout=None) as client:
        connection = client.get_or_create(ChatRoom, [organisation, name]).connect(
            params={"user": user}
        )
        connection.on_status_change(lambda status: show(STATUS[status]))
        connection.on("whisper", lambda sender, text: show(f"({sender} in private) {text}"))
        async with connection as room:
            # Asked for before the history is read: what is said between the two waits here.
            events = room.events("message", "joined", "left")
            terminal = Terminal(room, user)
            await terminal.show_history(HISTORY)
            await terminal.show_present()
            tasks = [
                asyncio.create_task(terminal.listen(events)),
                asyncio.create_task(terminal.speak()),
            ]
            done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*done)


class Terminal:
    """What one person sees and types."""

    def __init__(self, room: ChatRoom, user: str) -> None:
        self._room = room
        self._user = user
        # The last message on the screen: the history and the events overlap.
        self._shown = 0

    async def listen(self, events: AsyncIterator[DeliveredEvent]) -> None:
        """Show what happens, in the order in which it happened."""
        while True:
            try:
                async for event in events:
                    self._show_event(event)
                return
            except EventsTrimmed:
                # Away for longer than events are kept: the room itself has the messages.
                await self.show_history(HISTORY)

    async def speak(self) -> None:
        """Do what is typed until the input ends."""
        async for line in typed_lines():
            if line == "/quit":
                return
            await self.obey(line)

    async def obey(self, line: str) -> None:
        """Do what was typed."""
        word, _, rest = line.partition(" ")
        try:
            if word == "/who":
                await self.show_present()
            elif word == "/msg":
                to, _, text = rest.strip().partition(" ")
                await self._room.whisper(to, text)
                show(f"(to {to} in private) {text}")
            elif word == "/history":
                await self.show_history(int(rest) if rest.isdecimal() else HISTORY, again=True)
            elif line.startswith("/"):
                show(HELP)
            elif line:
                await self._room.say(line)
        except ActorError as error:
            show(f"!! {error.message}")

    async def show_history(self, count: int, *, again: bool = False) -> None:
        """Show the last messages: those that are not on the screen yet, or all of them."""
        messages = await self._room.history(count)
        if again:
            self._shown = 0
        for message in messages:
            self._show_message(message)

    async def show_present(self) -> None:
        """Show who is here."""
        show(f"-- here: {', '.join(await self._room.present())} (/help for help)")

    def _show_event(self, event: DeliveredEvent) -> None:
        if event.name == "message":
            self._show_message(event.args[0])
        elif event.args[0] != self._user:
            show(f"* {event.args[0]} {'comes in' if event.name == 'joined' else 'leaves'}")

    def _show_message(self, message: Message) -> None:
        if message.number > self._shown:
            self._shown = message.number
            show(f"{message.number:>4} {message.user}: {message.text}")


async def typed_lines() -> AsyncIterator[str]:
    """What is typed, line by line, until the input ends."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        # Not sys.stdin: Python waits for its lock at exit, and this thread may be reading.
        with open(0, closefd=False, errors="replace") as keyboard:
            for line in keyboard:
                loop.call_soon_threadsafe(typed.put_nowait, line.strip())
        loop.call_soon_threadsafe(typed.put_nowait, None)

    # A daemon, so that Ctrl-C need not wait for another line.
    threading.Thread(target=read, daemon=True).start()
    while (line := await typed.get()) is not None:
        yield line


def show(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat in the terminal.")
    parser.add_argument("user", help="your name")
    parser.add_argument("organisation", nargs="?", default="org-acme")
    parser.add_argument("room", nargs="?", default="general")
    options = parser.parse_args()
    try:
        asyncio.run(main(options.user, options.organisation, options.room))
    except ActorError as error:
        sys.exit(f"!! {error.message}")
    except HoldfastError as error:
        sys.exit(f"!! {error}")
    except KeyboardInterrupt:
        pass
