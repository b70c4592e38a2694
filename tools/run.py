"""`make run`: serves the chat example, talks to it, and leaves the server running.

The server is a child in a session of its own, so that a Ctrl-C reaches this
process alone and is passed on as one signal: it drains. A second one ends it at
once. A server that was killed is reported; whatever it had answered is in the
data directory, and the next run shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.chat import client as chat
from holdfast import HoldfastError

ROOT: Final = Path(__file__).resolve().parent.parent
REGISTRY: Final = "examples.chat.app:registry"
DEFAULT_ADDRESS: Final = "127.0.0.1:6430"
START_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.05


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; of a kind that no library takes for a failure of its own."""


class Failed(Exception):
    """The run cannot go on; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Serve the chat example and talk to it.")
    parser.add_argument("--grpc", default=os.environ.get("HOLDFAST_GRPC", DEFAULT_ADDRESS))
    parser.add_argument("--data", default=os.environ.get("HOLDFAST_DATA", ".holdfast"))
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_signal)
    try:
        check_free(options.grpc, Path(options.data))
        return run(options.grpc, options.data)
    except Failed as failure:
        say(f"make run: {failure}")
        return 1
    except Stopped:
        return 130


def run(address: str, data: str) -> int:
    """Serve until a signal or the end of the server; the exit status."""
    serve = ["holdfast_server", "serve", REGISTRY, "--data", data, "--grpc", address]
    server = subprocess.Popen(
        [sys.executable, "-m", *serve],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_serving(server, address)
        say("\n--- The chat example talks to it: examples/chat/client.py\n")
        asyncio.run(talk(address))
        say(next_steps(address, server.pid))
        return ended(wait(server), data)
    except Stopped:
        drain(server)
        return ended(wait(server), data)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


async def talk(address: str) -> None:
    """Run the client of the example."""
    try:
        await chat.main(address)
    except (HoldfastError, TimeoutError) as error:
        raise Failed(f"the chat example failed: {error!r}; see the server's log above") from error


def check_free(address: str, data: Path) -> None:
    """Refuse an address that cannot be served, before anything is started."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host.strip("[]"), int(port))):
            return
    except (ValueError, OverflowError, socket.gaierror):
        raise Failed(f"{address!r} is no HOST:PORT to serve on") from None
    except OSError as error:
        lock = shlex.quote(str(data / "LOCK.holdfast"))
        raise Failed(
            f"cannot serve on {address}: {error.strerror}.\n"
            f"If it is the server of an earlier run, stop it: kill $(cat {lock})\n"
            "Or take another address: HOLDFAST_GRPC=127.0.0.1:7430 make run"
        ) from None


def wait_until_serving(server: subprocess.Popen[bytes], address: str) -> None:
    """Return when the health service says SERVING."""
    ends = time.monotonic() + START_TIMEOUT_S
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            if server.poll() is not None:
                raise Failed(
                    f"the server did not start (exit status {server.returncode}); it says why above"
                )
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.RpcError:
                pass
            else:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            if time.monotonic() > ends:
                raise Failed(f"the server does not answer on {address}")
            time.sleep(POLL_S)


def next_steps(address: str, pid: int) -> str:
    """What to type in another terminal."""
    usual = address == DEFAULT_ADDRESS
    server = "" if usual else f"--server {address} "
    elsewhere = "" if usual else f"HOLDFAST_SERVER={address} "
    room = """'["org-acme","general"]'"""
    request = (
        '{"target":{"get":{"name":"chat-room","key":["org-acme","general"]}},"action":"members"}'
    )
    return f"""
--- The server goes on, as process {pid}. In another terminal, here:

Talk in the room, in as many terminals as you like:
  {elsewhere}.venv/bin/python -m examples.chat.terminal ada

Read the room, and say something in it:
  .venv/bin/holdfast {server}call chat-room {room} history
  .venv/bin/holdfast {server}call chat-room {room} send '"ada"' '"hello from a shell"'

The same server, for a program that has never heard of Holdfast:
  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge \\
    -d '{request}' \\
    http://{address}/holdfast.v1.ActorService/InvokeAction

Kill it, start it again, and find everything there; the terminals go on by themselves:
  kill -9 {pid}; make run

Ctrl-C here stops it."""


def drain(server: subprocess.Popen[bytes]) -> None:
    """Pass a signal on to the server."""
    say("\nDraining the server; once more to end it at once.")
    server.terminate()


def wait(server: subprocess.Popen[bytes]) -> int:
    """Wait for the end of the server, and pass on each signal; its exit status.

    The signals are read from a descriptor: one that arrives just before a thread
    goes to sleep in `waitpid` would not wake it.
    """
    numbers, written = socket.socketpair()
    written.setblocking(False)
    signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    while server.poll() is None:
        if numbers.recv(1)[0] != signal.SIGCHLD:
            drain(server)
    return server.returncode


def ended(status: int, data: str) -> int:
    """Say how the server ended; the exit status of this process."""
    if status == 0:
        say(f"The server has stopped; the chat is in {data}. `make run` shows it again.")
        return 0
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else "failed"
    say(f"\nThe server {how}. What it had answered is in {data}: `make run` shows it again.")
    return 1


def say(text: str) -> None:
    """Print at once, also into a file or a pipe."""
    print(text, flush=True)


def _on_signal(number: int, frame: object) -> NoReturn:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
