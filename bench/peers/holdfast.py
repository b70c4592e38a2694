"""Holdfast: one server, called over a session, by unary gRPC and through its gateway."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bench.actors import Counter
from bench.calls import METHOD, Calls
from bench.frames import run
from bench.http2 import Connection
from bench.load.driver import Lines, Sample, percentiles
from bench.peers.subject import Place, Subject, Way, rivet_ways
from bench.processes import free_port
from bench.servers import ROOT
from holdfast import Client


@dataclass(slots=True)
class Unary:
    """InvokeAction with prepared HTTP/2 frames, over one connection."""

    port: int
    connection: Connection
    calls: Calls

    def run(self, in_flight: int, seconds: float) -> Sample:
        done = self.connection.run(self.calls, in_flight, seconds=seconds)
        return Sample(done.calls, done.seconds, done.cpu_seconds, percentiles(done.latencies))

    def total(self) -> int:
        return run(self._total())

    async def _total(self) -> int:
        async with Client(f"127.0.0.1:{self.port}") as client:
            return sum([await client.get(Counter, key).value() for key in self.calls.keys])


def start(place: Place) -> Subject:
    servers = place.group("server")
    port, http = free_port(), free_port()
    command = [sys.executable, "-m", "holdfast_server", "serve", "bench.actors:registry"]
    command += ["--data", str(place.directory / "data"), "--admin", "off"]
    command += ["--grpc", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"]
    servers.start(command, ROOT, {"HOLDFAST_LOG_LEVEL": "warning"})
    servers.wait_for(port)
    servers.wait_for(http)
    script = str(ROOT / "bench" / "load" / "sdk.py")
    asked = [sys.executable, script, str(port), "session", str(place.actors)]
    connection = Connection(port, METHOD)
    place.stack.callback(connection.close)
    calls = Calls("counter", "increment", place.actors, (1,), prefix="unary")
    warm = Unary(port, connection, calls)
    # So that every counter exists, as those of the other ways do; its calls count.
    warm_calls = connection.run(calls, 16, calls=place.actors).calls
    subject = Subject("Holdfast", "yes", servers)
    subject.ways = [
        Way("session, Python SDK", Lines(place.group("client-session"), asked, ROOT)),
        Way("unary gRPC, bare load", _Less(warm, warm_calls)),
        *rivet_ways(place, http, {"2.0.33": "rivetkit", "2.3.19": "rivet_engine"}),
    ]
    return subject


@dataclass(slots=True)
class _Less:
    """A load whose counters began above zero."""

    driver: Unary
    began: int

    def run(self, in_flight: int, seconds: float) -> Sample:
        return self.driver.run(in_flight, seconds)

    def total(self) -> int:
        return self.driver.total() - self.began
