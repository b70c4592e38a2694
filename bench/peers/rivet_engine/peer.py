"""RivetKit 2.3.19 on Node with the Rivet engine, on the file system."""

from __future__ import annotations

import time
from dataclasses import replace

from bench.load.program import Missing
from bench.peers.subject import NODE, Place, Subject, built, rivet_ways
from bench.processes import Group, free_port

# To make one takes it a good part of a second; more of them answer no more calls.
ACTORS = 16
_READY_S = 60.0


def _engine_env(place: Place, port: int) -> dict[str, str]:
    env = {"RIVET__FILE_SYSTEM__PATH": str(place.directory / "data")}
    env["RIVET__TELEMETRY__ENABLED"] = "false"
    # It makes no actors while the machine is busy, whoever keeps it so; here others do.
    env["RIVET__RUNTIME__WORKER_CPU_MAX"] = "1000000"
    for part, at in (("GUARD", port), ("API_PEER", free_port()), ("METRICS", free_port())):
        env[f"RIVET__{part}__HOST"] = "127.0.0.1"
        env[f"RIVET__{part}__PORT"] = str(at)
    return env


def _wait_for_runner(servers: Group) -> None:
    ends = time.monotonic() + _READY_S
    while "\nready" not in f"\n{servers.said()}":
        servers.check()
        if time.monotonic() > ends:
            raise RuntimeError(f"the runner did not connect; it said: {servers.said()}")
        time.sleep(0.05)


def start(place: Place) -> Subject:
    modules = built("rivet_engine")
    engines = sorted(modules.glob("node_modules/@rivetkit/engine-cli-*/rivet-engine"))
    if not engines:
        raise Missing("its package has no engine for this platform")
    servers, runner = place.group("engine"), place.group("runner")
    port = free_port()
    (place.directory / "data").mkdir()
    servers.start([str(engines[0]), "start"], place.directory, _engine_env(place, port))
    servers.wait_for(port)
    env = {"NODE_ENV": "production"}
    runner.start([str(NODE), "server.mjs", f"http://127.0.0.1:{port}"], modules, env)
    _wait_for_runner(runner)
    servers.adopt(runner)
    subject = Subject("Rivet engine 2.3.19, Node", "no: written later", servers)
    few = replace(place, actors=min(place.actors, ACTORS))
    subject.ways = rivet_ways(few, port, {"2.3.19": "rivet_engine"})
    return subject
