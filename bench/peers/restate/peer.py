"""Virtual objects on Restate, with its SDK on Node."""

from __future__ import annotations

from collections.abc import Callable

from bench.load.driver import Driver
from bench.load.plans import request
from bench.load.program import HttpLoad, Missing, program
from bench.peers.subject import NODE, Place, Subject, ask, built, way
from bench.processes import free_port


def _adder(port: int, keys: list[str]) -> Callable[[], int]:
    def value(key: str) -> int:
        return int(ask("POST", f"http://127.0.0.1:{port}/counter/{key}/value"))

    return lambda: sum(value(key) for key in keys)


def _http(port: int, actors: int) -> Driver:
    program()
    keys = [f"http-{index}" for index in range(actors)]
    for key in keys:
        ask("POST", f"http://127.0.0.1:{port}/counter/{key}/increment", 0)
    requests = [
        request(port, f"/counter/{key}/increment", b"1", "Content-Type: application/json")
        for key in keys
    ]
    return HttpLoad(port, requests, _adder(port, keys))


def start(place: Place) -> Subject:
    modules = built("restate")
    programs = sorted(modules.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not programs:
        raise Missing("its package has no server for this platform")
    servers = place.group("server")
    node, ingress, admin, service = (free_port() for _ in range(4))
    env = {
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "RESTATE_LOG_FILTER": "warn",
    }
    command = [str(programs[0]), "--no-logo", "--listen-mode", "tcp"]
    command += ["--bind-ip", "127.0.0.1", "--advertised-host", "127.0.0.1"]
    command += ["--bind-port", str(node), "--base-dir", str(place.directory / "data")]
    servers.start(command, place.directory, env)
    servers.start(
        [str(NODE), "service.mjs", str(service)],
        modules,
        {"NODE_ENV": "production", "RESTATE_LOGGING": "ERROR"},
    )
    for port in (service, ingress, admin):
        servers.wait_for(port)
    address = {"uri": f"http://127.0.0.1:{service}"}
    ask("POST", f"http://127.0.0.1:{admin}/deployments", address)
    subject = Subject("Restate 1.7.12, SDK on Node", "yes", servers)
    subject.ways = [way("HTTP, C load", lambda: _http(ingress, place.actors))]
    return subject
