"""Holdfast: one server, called over a session, by unary gRPC and through its gateway."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.calls import METHOD, Calls, result
from bench.http2 import Connection
from bench.load.driver import Driver, Lines, Sample, percentiles
from bench.peers.subject import Place, Subject, Way, rivet_ways, way
from bench.processes import Group, free_port
from bench.servers import ROOT

_WARM_IN_FLIGHT = 16


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout of Holdfast, and the Python that has its dependencies."""

    root: Path
    python: str

    def has(self, flag: str) -> bool:
        """Whether its server knows a flag."""
        command = [self.python, "-m", "holdfast_server", "serve", "--help"]
        told = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return flag in told.stdout


HERE: Final = Tree(ROOT, sys.executable)


@dataclass(slots=True)
class _Unary:
    """InvokeAction with prepared HTTP/2 frames, over one connection a run: one that is idle
    between runs would answer no ping."""

    port: int
    actors: int

    def run(self, in_flight: int, seconds: float) -> Sample:
        with closing(Connection(self.port, METHOD)) as connection:
            done = connection.run(self._calls("increment", 1), in_flight, seconds=seconds)
        return Sample(done.calls, done.seconds, done.cpu_seconds, percentiles(done.latencies))

    def create(self) -> None:
        """Make all actors."""
        with closing(Connection(self.port, METHOD)) as connection:
            connection.run(self._calls("increment", 0), _WARM_IN_FLIGHT, calls=self.actors)

    def total(self) -> int:
        answers: list[bytes] = []
        with closing(Connection(self.port, METHOD)) as connection:
            calls = self._calls("value")
            connection.run(calls, 1, calls=self.actors, on_answer=answers.append)
        return sum(int(str(result(answer))) for answer in answers)

    def _calls(self, action: str, *args: object) -> Calls:
        return Calls("counter", action, self.actors, args)


def _unary(place: Place, port: int) -> Driver:
    load = _Unary(port, place.actors)
    load.create()
    return load


def _session(place: Place, tree: Tree, port: int) -> Driver:
    script = str(ROOT / "bench" / "load" / "sdk.py")
    command = [tree.python, script, str(port), "session", str(place.actors)]
    return Lines(place.group("client-session"), command, tree.root)


def serve(place: Place, *flags: str, tree: Tree = HERE) -> tuple[Group, int, int]:
    """A server, its port for gRPC and the gateway's, which is 0 where there is none."""
    servers = place.group("server")
    port, http = free_port(), free_port()
    command = [tree.python, "-m", "holdfast_server", "serve", "bench.actors:registry", *flags]
    command += ["--data", str(place.directory / "data"), "--grpc", f"127.0.0.1:{port}"]
    if tree is HERE or tree.has("--admin"):
        command += ["--admin", "off"]
    if tree is HERE or tree.has("--http"):
        command += ["--http", f"127.0.0.1:{http}"]
    else:
        http = 0
    servers.start(command, tree.root, {"HOLDFAST_LOG_LEVEL": "warning"})
    for each in filter(None, (port, http)):
        servers.wait_for(each)
    return servers, port, http


def serve_gateway(place: Place, *flags: str) -> tuple[Group, int]:
    """A server, and its gateway's port."""
    servers, _, http = serve(place, *flags)
    return servers, http


def start_tree(place: Place, name: str, tree: Tree, clients: dict[str, str]) -> Subject:
    """The server of a tree, called by the tree's own SDK, and through its gateway if it has one."""
    servers, port, http = serve(place, tree=tree)
    ways = [
        way("session, Python SDK", lambda: _session(place, tree, port)),
        way("unary gRPC, bare load", lambda: _unary(place, port)),
    ]
    if http:
        ways += rivet_ways(place, http, clients)
    else:
        ways.append(Way("HTTP and WebSocket", None, "it has no gateway"))
    return Subject(name, "yes", servers, ways)


def start(place: Place) -> Subject:
    """This tree."""
    clients = {"2.0.33": "rivetkit", "2.3.19": "rivet_engine"}
    return start_tree(place, "Holdfast", HERE, clients)
