"""Walks over the canvas and draws a line, while it shows everybody's cursors.

    python -m examples.live_cursors.client            # as "ada"
    python -m examples.live_cursors.client grace

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator

from examples.live_cursors.app import HEIGHT, WIDTH, Canvas, Shape
from holdfast import ActorError, Client, DeliveredEvent

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
STEPS = int(os.environ.get("STEPS", "100"))
STEP_S = float(os.environ.get("STEP_S", "0.05"))


class Board:
    """What this terminal knows of the canvas."""

    def __init__(self) -> None:
        self.cursors: dict[str, tuple[int, int]] = {}
        self.shapes: dict[tuple[int, int], str] = {}

    async def follow(self, cursors: AsyncIterator[DeliveredEvent]) -> None:
        """See everybody move."""
        async for event in cursors:
            name, x, y = event.args
            self.cursors[name] = x, y

    def on_gone(self, name: str) -> None:
        """Somebody left."""
        self.cursors.pop(name, None)

    def draw(self, shape: Shape) -> None:
        """Somebody drew."""
        self.shapes[shape.x, shape.y] = shape.mark

    def text(self) -> str:
        """The canvas as lines; a cursor is the first letter of its name."""
        marks = {**self.shapes, **{place: name[:1].upper() for name, place in self.cursors.items()}}
        rows = ("".join(marks.get((x, y), " ") for x in range(WIDTH)) for y in range(HEIGHT))
        edge = "+" + "-" * WIDTH + "+"
        return "\n".join([edge, *(f"|{row}|" for row in rows), edge])


async def main(name: str, server: str = SERVER) -> None:
    """Walk, draw, show."""
    board = Board()
    async with Client(server) as client:
        connection = client.get_or_create(Canvas, ["demo"]).connect(params={"name": name})
        async with connection as canvas:
            canvas.on("gone", board.on_gone)
            canvas.on("shape", board.draw)
            cursors = canvas.events("cursor", slow_reader="conflate")
            for shape in await canvas.shapes():
                board.draw(shape)
            following = asyncio.create_task(board.follow(cursors))
            try:
                await wander(canvas, board)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            print(board.text())
            print("here:", ", ".join(await canvas.painters()))


async def wander(canvas: Canvas, board: Board) -> None:
    """Walk, and leave a trace."""
    place = random.randrange(WIDTH), random.randrange(HEIGHT)
    for step in range(STEPS):
        place = walk(place)
        await canvas.move(*place)
        if step % 5 == 0:
            await canvas.draw(*place, mark=".")
        if sys.stdout.isatty():
            # From the top left corner of an empty screen.
            print("\x1b[H\x1b[2J" + board.text(), flush=True)
        await asyncio.sleep(STEP_S)


def walk(place: tuple[int, int]) -> tuple[int, int]:
    """One step in a random direction, on the canvas."""
    x, y = place
    x += random.choice((-1, 1, 2))
    y += random.choice((-1, 0, 1))
    return x % WIDTH, max(0, min(y, HEIGHT - 1))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ada"))
    except ActorError as error:
        sys.exit(f"refused: {error.message}")
    except KeyboardInterrupt:
        pass
