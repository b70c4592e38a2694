"""The canvas: everybody sees cursors move and shapes appear, and a cursor that is cut off go."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.live_cursors.app import HEIGHT, NAME_CHARS_MAX, SHAPES_MAX, WIDTH, Canvas, Shape
from holdfast import ActorError, Client
from tests.server_process import ROOT, ServerProcess, environment, run, served

EXAMPLE = "live_cursors"
GRACE_S = 3
UNREAD = 20_000


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[ServerProcess]:
    """The application on a server with a short grace."""
    settings = f"HOLDFAST_CONNECTION_GRACE_S={GRACE_S}"
    command = ["env", settings, sys.executable, "-m", "examples.live_cursors.app"]
    with served(command, tmp_path / "data") as server:
        yield server


def heard(canvas: Canvas, name: str) -> asyncio.Queue[tuple[Any, ...]]:
    """The arguments of the events of a name."""
    queue: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    canvas.on(name, lambda *args: queue.put_nowait(args))
    return queue


async def test_three_see_each_others_cursors_and_shapes(client: Client, own: str) -> None:
    canvas = client.get_or_create(Canvas, [own])
    async with (
        canvas.connect(params={"name": "ada"}) as ada,
        canvas.connect(params={"name": "grace"}) as grace,
        canvas.connect() as guest,
    ):
        everyone = (ada, grace, guest)
        cursors = [heard(each, "cursor") for each in everyone]
        shapes = [heard(each, "shape") for each in everyone]
        for each in everyone:
            # Open, and listening with it.
            await each.painters()

        await ada.move(3, 4)
        await grace.move(-5, HEIGHT + 100)
        assert await grace.draw(WIDTH, 2, "#") == 1

        for cursor in cursors:
            assert await cursor.get() == ("ada", 3, 4)
            assert await cursor.get() == ("grace", 0, HEIGHT - 1)
        for shape in shapes:
            (drawn,) = await shape.get()
            assert drawn == Shape(WIDTH - 1, 2, "#", "grace")
        assert await guest.painters() == ["ada", "grace"]
        with pytest.raises(ActorError) as caught:
            await guest.move(1, 1)
        assert caught.value.code == "nameless"


async def test_a_cursor_goes_with_the_last_terminal_of_its_painter(
    client: Client, own: str
) -> None:
    canvas = client.get_or_create(Canvas, [own])
    async with canvas.connect() as guest:
        gone = heard(guest, "gone")
        await guest.painters()
        async with canvas.connect(params={"name": "ada"}) as first:
            await first.move(1, 1)
            async with canvas.connect(params={"name": "ada"}) as second:
                await second.move(2, 2)
            assert await guest.painters() == ["ada"]
            assert gone.empty()

        assert await gone.get() == ("ada",)
        assert await guest.painters() == []


async def test_a_painter_who_is_cut_off_keeps_the_cursor_for_the_grace(
    hasty: ServerProcess,
) -> None:
    async with (
        Client(hasty.address) as client,
        client.get_or_create(Canvas, ["demo"]).connect() as guest,
    ):
        cursor, gone = heard(guest, "cursor"), heard(guest, "gone")
        await guest.painters()
        painter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.live_cursors.client", "ada"),
            cwd=ROOT,
            env=environment(HOLDFAST_SERVER=hasty.address, STEPS="1000000"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert (await cursor.get())[0] == "ada"

        painter.kill()
        await painter.wait()

        assert await guest.painters() == ["ada"]
        assert gone.empty()
        assert await gone.get() == ("ada",)
        assert await guest.painters() == []


async def test_a_reader_who_does_not_read_still_gets_the_latest_cursor(
    client: Client, own: str
) -> None:
    name = "a" * NAME_CHARS_MAX
    canvas = client.get_or_create(Canvas, [own])
    async with canvas.connect(params={"name": name}) as ada:
        cursors = ada.events("cursor", slow_reader="conflate")
        # More than fits on the way to a reader.
        for _ in range(UNREAD // 1000):
            await asyncio.gather(*(ada.move(step % WIDTH, 0) for step in range(1000)))
        await ada.move(7, 7)

        conflated = 0
        async for event in cursors:
            conflated += event.conflated
            if event.args == (name, 7, 7):
                break

        assert conflated > 0


async def test_the_oldest_shapes_go(client: Client, own: str) -> None:
    canvas = client.get_or_create(Canvas, [own], params={"name": "ada"})

    await asyncio.gather(*(canvas.draw(step % WIDTH, 0, "x") for step in range(SHAPES_MAX + 2)))

    assert len(await canvas.shapes()) == SHAPES_MAX


@pytest.mark.parametrize("params", [{"name": ""}, {"name": "x" * (NAME_CHARS_MAX + 1)}, [1]])
async def test_a_name_that_is_none_is_refused(client: Client, own: str, params: Any) -> None:
    with pytest.raises(ActorError) as caught:
        async with client.get_or_create(Canvas, [own]).connect(params=params) as canvas:
            await canvas.painters()

    assert caught.value.code == "bad_name"


@pytest.mark.parametrize("mark", ["", "xy", "\n"])
async def test_a_mark_is_one_character(client: Client, own: str, mark: str) -> None:
    canvas = client.get_or_create(Canvas, [own], params={"name": "ada"})

    with pytest.raises(ActorError) as caught:
        await canvas.draw(1, 1, mark)

    assert caught.value.code == "bad_mark"
    assert await canvas.shapes() == []


def test_the_client_draws_and_the_canvas_is_there_after_a_kill(server: ServerProcess) -> None:
    def draw(name: str) -> list[str]:
        command = (sys.executable, "-m", "examples.live_cursors.client", name)
        done = run(*command, address=server.address, STEPS="6", STEP_S="0")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    board = draw("ada")
    assert len(board) == HEIGHT + 3
    assert board[-1] == "here: ada"
    drawn = "".join(board).count(".")
    assert drawn >= 1

    server.kill()
    server.start()

    assert "".join(draw("grace")).count(".") >= drawn


def test_the_client_is_told_of_a_bad_name_in_one_line(server: ServerProcess) -> None:
    command = (sys.executable, "-m", "examples.live_cursors.client", "")

    done = run(*command, address=server.address)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"refused: a name has 1 to {NAME_CHARS_MAX} characters\n"
