"""The command line as a process: interrupts, pipes, versions, bytes that are no text."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.metadata import version

import pytest

from tests.server.client_actors import Gate, gates, registry
from tests.server.conftest import Start

MAIN = "from holdfast.cli import main; main()"
# A shell that runs the tests in its background has their children ignore Ctrl-C.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + MAIN


async def spawn(*arguments: str | bytes, program: str = MAIN) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", program, *arguments),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str | bytes, program: str = MAIN) -> tuple[int | None, str, str]:
    process = await spawn(*arguments, program=program)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def gate() -> Gate:
    gates["a"] = Gate()
    return gates["a"]


@pytest.mark.parametrize("action", [["hold", '"never"'], ["follow", "7"]])
async def test_ctrl_c_cancels_the_call_and_ends_with_130(
    start: Start, gate: Gate, action: list[str]
) -> None:
    server, _ = await start(registry)
    process = await spawn(
        "--server",
        f"127.0.0.1:{server.port}",
        "call",
        "witness",
        "a",
        *action,
        program=INTERRUPTIBLE,
    )
    await gate.entered.wait()

    process.send_signal(signal.SIGINT)

    await gate.cancelled.wait()
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_items_of_a_stream_come_as_they_are_made(start: Start, gate: Gate) -> None:
    server, _ = await start(registry)
    process = await spawn(
        "--server", f"127.0.0.1:{server.port}", "call", "witness", "a", "follow", "7"
    )
    assert process.stdout is not None

    assert await process.stdout.readline() == b"7\n"
    gate.open.set()
    assert await process.stdout.readline() == b"8\n"

    assert await process.wait() == 0


async def test_a_reader_that_goes_away_ends_it_quietly(start: Start, gate: Gate) -> None:
    server, _ = await start(registry)
    read_end, write_end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", MAIN, "--server", f"127.0.0.1:{server.port}", "call", "witness", "a"),
        *("follow", "7"),
        stdout=write_end,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(write_end)
    await gate.entered.wait()
    os.close(read_end)
    gate.open.set()

    _, err = await process.communicate()

    assert process.returncode == 1
    assert b"Traceback" not in err


async def test_the_version() -> None:
    assert await run("--version") == (0, f"holdfast {version('holdfast')}\n", "")


async def test_bytes_that_are_no_text_are_named() -> None:
    code, out, err = await run("call", "witness", b"\xff", "read")
    assert (code, out) == (2, "")
    assert err == "error: an argument is not UTF-8: '\\udcff'\n"


async def test_without_the_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['typer'] = None; " + MAIN
    code, out, err = await run("health", program=program)
    assert (code, out) == (2, "")
    assert err == "the command line needs: pip install 'holdfast[cli]'\n"


async def test_a_server_that_cannot_be_reached() -> None:
    code, out, err = await run("--server", "127.0.0.1:1", "--timeout", "0.2", "health")
    assert (code, out) == (3, "")
    assert err.startswith("error: server.unavailable: ")
    assert "Traceback" not in err
