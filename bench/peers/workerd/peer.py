"""Durable Objects on workerd, kept on the local disk."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

from bench.load.driver import Driver
from bench.load.plans import frame, request, upgrade
from bench.load.program import CONNECTIONS, HttpLoad, Lane, Missing, WebSocketLoad, program
from bench.peers.subject import Place, Subject, built, way
from bench.processes import free_port

_CONFIG = """\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .counter),
    (name = "data", disk = (path = "{data}", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")],
);
const counter :Workerd.Worker = (
  modules = [(name = "counter.js", esModule = embed "counter.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [
    (className = "Counter", uniqueKey = "counter", enableSql = true, preventEviction = true)
  ],
  durableObjectStorage = (localDisk = "data"),
  bindings = [(name = "COUNTERS", durableObjectNamespace = "Counter")],
);
"""


def _add(port: int, path: str, by: int) -> int:
    url = f"http://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(url, str(by).encode(), timeout=60) as answer:
        return int(answer.read())


def _adder(port: int, paths: list[str]) -> Callable[[], int]:
    for path in paths:
        _add(port, path, 0)
    return lambda: sum(_add(port, path, 0) for path in paths)


def _http(port: int, actors: int) -> Driver:
    program()
    paths = [f"/http/{index}" for index in range(actors)]
    return HttpLoad(port, [request(port, path, b"1") for path in paths], _adder(port, paths))


def _websocket(port: int) -> Driver:
    program()
    paths = [f"/websocket/{index}" for index in range(CONNECTIONS)]
    message = frame(b"1", text=True)
    lanes = [Lane([message], upgrade(port, path)) for path in paths]
    return WebSocketLoad(port, lanes, "-", _adder(port, paths))


def start(place: Place) -> Subject:
    modules = built("workerd")
    programs = sorted(modules.glob("node_modules/@cloudflare/workerd-*/bin/workerd"))
    if not programs:
        raise Missing("its package has no program for this platform")
    servers = place.group("server")
    port = free_port()
    data = place.directory / "data"
    data.mkdir()
    (place.directory / "counter.js").write_bytes((modules / "counter.js").read_bytes())
    config = place.directory / "config.capnp"
    config.write_text(_CONFIG.format(data=data, port=port), encoding="utf-8")
    servers.start([str(programs[0]), "serve", str(config)], place.directory, {})
    servers.wait_for(port)
    subject = Subject("Durable Objects, workerd", "yes", servers)
    subject.ways = [
        way("HTTP, C load", lambda: _http(port, place.actors)),
        way("WebSocket, C load", lambda: _websocket(port)),
    ]
    return subject
