"""A system under the load: how it is started, and the ways in which it is called."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.load.driver import Driver, Lines, LoadError
from bench.load.plans import ACTION_RESPONSE, rivet_lanes, rivet_requests
from bench.load.program import CONNECTIONS, HttpLoad, Missing, WebSocketLoad, program
from bench.processes import Group, group
from bench.servers import ROOT

BUILT: Final = ROOT / "build" / "peers"
NODE: Final = BUILT / "node"
_TIMEOUT_S: Final = 60.0
# Of a question that changes nothing, or the same when it is asked again.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Way:
    """One way to call a system: its name, and the load, or why there is none."""

    name: str
    driver: Driver | None
    missing: str = ""


@dataclass(slots=True)
class Subject:
    """A system that runs. `synced` says whether an answered call is on disk."""

    name: str
    synced: str
    servers: Group
    ways: list[Way] = field(default_factory=list)
    # A process among the servers' that is the load's.
    load_pid: int = 0

    @property
    def cpu_seconds(self) -> float:
        return self.servers.cpu_seconds(but=self.load_pid)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subject runs: what ends it, its directory, and how many actors each way has."""

    stack: ExitStack
    directory: Path
    actors: int

    def group(self, name: str) -> Group:
        """Processes that end with the place."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.stack.enter_context(group(self.directory / f"{name}.log"))


Start = Callable[[Place], Subject]


def built(name: str) -> Path:
    """Where a peer is installed; Missing if it is not."""
    why = BUILT / f"{name}.missing"
    if why.exists():
        raise Missing(why.read_text().strip())
    if not (BUILT / name / "stamp").exists():
        raise Missing("not installed: run `sh bench/peers/install.sh`")
    return BUILT / name


def way(name: str, make: Callable[[], Driver]) -> Way:
    """A way, or why it is not to be had on this machine."""
    try:
        return Way(name, make())
    except (Missing, LoadError) as why:
        return Way(name, None, " ".join(str(why).split()))


def ask(method: str, url: str, body: object = None, **headers: str) -> Any:
    """The JSON that a server of this machine answers with; what may fail once is asked again."""
    for left in reversed(range(_TRIES)):
        try:
            return _ask(method, url, body, headers)
        except LoadError:
            if not left:
                raise
    raise AssertionError


def _ask(method: str, url: str, body: object, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, method=method)
    asked.add_header("Content-Type", "application/json")
    for header, value in headers.items():
        asked.add_header(header.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise LoadError(f"{method} {url}: {error.code} {error.read().decode()}") from None


def create(port: int, prefix: str, count: int) -> list[str]:
    """Ids of new actors, as RivetKit's clients make them."""
    url = f"http://127.0.0.1:{port}/actors?namespace=default"
    ids: list[str] = []
    for index in range(count):
        wanted = {
            "name": "counter",
            "key": f"{prefix}/{index}",
            "runner_name_selector": "default",
            "crash_policy": "sleep",
        }
        ids.append(ask("PUT", url, wanted)["actor"]["actor_id"])
        _action(port, ids[-1], "increment", 0)
    return ids


def _action(port: int, actor: str, name: str, *args: object) -> int:
    url = f"http://127.0.0.1:{port}/gateway/{actor}/action/{name}"
    return int(ask("POST", url, {"args": args}, x_rivet_encoding="json")["output"])


def _adder(port: int, actors: Sequence[str]) -> Callable[[], int]:
    return lambda: sum(_action(port, actor, "value") for actor in actors)


def _http(port: int, actors: int) -> Driver:
    program()
    ids = create(port, "http", actors)
    return HttpLoad(port, rivet_requests(port, ids), _adder(port, ids))


def _connections(port: int, actors: int) -> Driver:
    program()
    ids = create(port, "connections", min(actors, CONNECTIONS))
    return WebSocketLoad(port, rivet_lanes(port, ids), ACTION_RESPONSE, _adder(port, ids))


def _client(place: Place, port: int, peer: str, kind: str) -> Driver:
    modules = built(peer)
    script = str(ROOT / "bench" / "load" / "rivetkit.mjs")
    command = [str(NODE), script, str(modules), f"http://127.0.0.1:{port}"]
    command += [kind, f"{peer}-{kind}", str(place.actors)]
    return Lines(place.group(f"client-{peer}-{kind}"), command, ROOT, NODE_ENV="production")


def rivet_ways(place: Place, port: int, clients: dict[str, str]) -> list[Way]:
    """The ways of what RivetKit's clients speak; `clients` are peers by version."""
    ways = [
        way("HTTP, C load", lambda: _http(port, place.actors)),
        way("WebSocket, C load", lambda: _connections(port, place.actors)),
    ]
    for version, peer in clients.items():
        for kind, name in (("http", "HTTP"), ("connection", "WebSocket")):
            ways.append(
                way(
                    f"{name}, npm client {version}",
                    lambda peer=peer, kind=kind: _client(place, port, peer, kind),  # type: ignore[misc]
                )
            )
    return ways
