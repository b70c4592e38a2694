"""What an idle WebSocket connection of the gateway holds in memory, against RivetKit's server.

Very many connections are opened as RivetKit's clients open them, each to one of a
number of actors, and left alone; what the server's processes grew by is shared out
among them. The kernel's memory for their sockets does not count.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load.driver import LoadError
from bench.load.plans import PROTOCOLS, upgrade
from bench.load.program import Missing
from bench.peers.holdfast import serve_gateway
from bench.peers.rivetkit.peer import serve as serve_rivetkit
from bench.peers.subject import Place, create
from bench.processes import Group
from bench.servers import LOW_MEMORY, data_directory
from bench.table import Result, Row, show

COMMAND = "python -m bench.idle"
_AT_ONCE = 100
_TIMEOUT_S = 60.0
# Descriptors that this process and the server need for other things.
_SPARE = 500


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    connections: int = 10_000
    actors: int = 200
    warm: int = 200
    settle_s: float = 2.0

    def fitting(self) -> Size:
        """As many connections as this machine's limit on open files allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(max(soft, self.connections + _SPARE), hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return replace(self, connections=min(self.connections, wanted - _SPARE))


FULL = Size()


def _open(port: int, actors: list[str]) -> list[socket.socket]:
    """A connection to each of the actors, which has said that it is open."""
    opened: list[socket.socket] = []
    for begin in range(0, len(actors), _AT_ONCE):
        some = actors[begin : begin + _AT_ONCE]
        new = [socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) for _ in some]
        opened += new
        for each, actor in zip(new, some, strict=True):
            each.sendall(upgrade(port, f"/gateway/{actor}/connect", *PROTOCOLS))
        for each in new:
            _expect_init(each)
    return opened


def _expect_init(connection: socket.socket) -> None:
    """Read the answer to the upgrade and the first frame."""
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 2:
        more = connection.recv(65_536)
        if not more:
            raise LoadError("the server closed a connection")
        received += more
    head, _, frame = received.partition(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0] or frame[0] != 0x82:
        raise LoadError(f"the server refused a connection: {received[:200]!r}")


@contextmanager
def _opened(port: int, actors: list[str]) -> Iterator[None]:
    sockets = _open(port, actors)
    try:
        yield
    finally:
        for each in sockets:
            each.close()


def grown(serve: Callable[[Place], tuple[Group, int]], directory: Path, size: Size) -> float:
    """Bytes that a fresh server holds more for each connection."""
    with ExitStack() as stack:
        servers, port = serve(Place(stack, directory, size.actors))
        actors = create(port, "idle", size.actors)
        with _opened(port, [actors[index % size.actors] for index in range(size.warm)]):
            pass
        time.sleep(size.settle_s)
        before = servers.resident_bytes
        wanted = [actors[index % size.actors] for index in range(size.connections)]
        with _opened(port, wanted):
            time.sleep(size.settle_s)
            return (servers.resident_bytes - before) / size.connections


def measure(size: Size = FULL) -> Result:
    size = size.fitting()
    with data_directory() as directory:
        ours = grown(lambda place: serve_gateway(place, *LOW_MEMORY), directory / "ours", size)
        against = ratio = ""
        try:
            theirs = grown(serve_rivetkit, directory / "rivetkit", size)
            against, ratio = f"RivetKit 2.0.33: {theirs:,.0f} bytes", f"{ours / theirs:.2f}"
        except (Missing, LoadError, OSError) as why:
            against = f"RivetKit 2.0.33: not measured: {' '.join(str(why).split())}"
    name = f"memory of an idle WebSocket connection, of {size.connections:,}"
    return Result(COMMAND, 1, [Row(name, f"{ours:,.0f} bytes", against, ratio)])


if __name__ == "__main__":
    show([measure()], COMMAND)
