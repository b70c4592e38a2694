"""A fire has no connection: no hook of one runs for it, and `c.conn` is None."""

from __future__ import annotations

from holdfast import Actor, Connection, Context, action, setup
from tests.server.virtual import World, run

told: list[str] = []


class Room(Actor):
    """Notes every client that comes."""

    async def on_connect(self, c: Context, conn: Connection) -> None:
        told.append("connect")

    async def on_disconnect(self, c: Context, conn: Connection) -> None:
        told.append("disconnect")

    @action
    async def later(self, c: Context) -> None:
        c.schedule.after(1, "fire")

    @action
    async def fire(self, c: Context) -> None:
        assert c.fire is not None
        told.append(f"conn {c.conn}")


async def _body(world: World) -> None:
    told.clear()
    await world.call("later")
    assert told == ["connect", "disconnect"]
    await world.pass_by(2)
    assert told == ["connect", "disconnect", "conn None"]


def test_no_hook_of_a_connection_runs_for_a_fire() -> None:
    run(setup(use={"alarm": Room}), _body)
