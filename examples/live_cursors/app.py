"""A canvas on which several people see each other's cursors while they draw.

Serve it with `python -m examples.live_cursors.app`, then run
`python -m examples.live_cursors.client` in as many terminals as you like.

A cursor moves often, and only its latest place matters: its event is ephemeral, which
stores nothing and waits for no disk, and a reader that is slow is given the latest one only.
A shape is there to stay: it is state, and its event is stored, numbered and resumed. So is
the event of a cursor that goes: who misses it would show that cursor for ever. A painter who
is cut off may come back within the server's connection_grace_s, 30 s; then the cursor goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast import Actor, Connection, Context, Event, UserError, action, setup

WIDTH, HEIGHT = 60, 16
SHAPES_MAX = 500
NAME_CHARS_MAX = 16


@dataclass
class Shape:
    """Something drawn: a character on a place, and by whom."""

    x: int
    y: int
    mark: str
    user: str


@dataclass
class Drawing:
    """What was drawn; the oldest goes when there is too much."""

    shapes: list[Shape] = field(default_factory=list)


@dataclass
class Painter:
    """Who is connected; lives as long as the connection."""

    name: str


class Canvas(Actor[Drawing, Painter]):
    """One canvas."""

    state = Drawing
    emits = {
        "cursor": Event(str, int, int, ephemeral=True),
        "gone": Event(str),
        "shape": Event(Shape),
    }

    async def create_conn_state(self, c: Context[Drawing, Painter], params: Any) -> Painter:
        """A painter has a name, params={"name": "ada"}; who only looks gives no parameters."""
        if not params:
            return Painter("")
        name = params.get("name") if isinstance(params, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
            raise UserError(f"a name has 1 to {NAME_CHARS_MAX} characters", code="bad_name")
        return Painter(name)

    async def on_disconnect(self, c: Context[Drawing, Painter], conn: Connection[Painter]) -> None:
        """The cursor disappears, with the last terminal of its painter."""
        name = conn.state.name
        if name and not any(other.state.name == name for other in c.conns if other != conn):
            c.broadcast("gone", name)

    @action(read_only=True)
    def move(self, c: Context[Drawing, Painter], x: int, y: int) -> None:
        """Show where the cursor is: changes nothing, so it waits for nothing."""
        c.broadcast("cursor", painter(c).name, clamp(x, WIDTH), clamp(y, HEIGHT))

    @action
    async def draw(self, c: Context[Drawing, Painter], x: int, y: int, mark: str) -> int:
        """Put a character on the canvas; how many shapes there are."""
        if len(mark) != 1 or not mark.isprintable():
            raise UserError("a mark is one printable character", code="bad_mark")
        shape = Shape(clamp(x, WIDTH), clamp(y, HEIGHT), mark, painter(c).name)
        c.state.shapes.append(shape)
        del c.state.shapes[:-SHAPES_MAX]
        c.broadcast("shape", shape)
        return len(c.state.shapes)

    @action(read_only=True)
    def shapes(self, c: Context[Drawing, Painter]) -> list[Shape]:
        """Everything drawn, the oldest first."""
        return c.state.shapes

    @action(read_only=True)
    def painters(self, c: Context[Drawing, Painter]) -> list[str]:
        """Who is here, or cut off and may come back."""
        return sorted({conn.state.name for conn in c.conns if conn.state.name})


def painter(c: Context[Drawing, Painter]) -> Painter:
    """Who calls; only a painter with a name may."""
    if c.conn is None or not c.conn.state.name:
        raise UserError('connect with params={"name": ...}', code="nameless")
    return c.conn.state


def clamp(value: int, size: int) -> int:
    """A coordinate on the canvas."""
    return max(0, min(value, size - 1))


registry = setup(use={"canvas": Canvas})

if __name__ == "__main__":
    registry.serve()
