"""RivetKit 2.0.33 on Node, with its file-system driver."""

from __future__ import annotations

from bench.peers.subject import NODE, Place, Subject, built, rivet_ways
from bench.processes import Group, free_port


def serve(place: Place) -> tuple[Group, int]:
    """Its server, and the port."""
    modules = built("rivetkit")
    servers = place.group("server")
    port = free_port()
    data = place.directory / "data"
    data.mkdir()
    env = {"NODE_ENV": "production", "RIVETKIT_INSPECTOR_DISABLE": "1"}
    servers.start([str(NODE), "server.mjs", str(port), str(data)], modules, env)
    servers.wait_for(port)
    return servers, port


def start(place: Place) -> Subject:
    servers, port = serve(place)
    subject = Subject("RivetKit 2.0.33, Node", "no: written later", servers)
    subject.ways = rivet_ways(place, port, {"2.0.33": "rivetkit"})
    return subject
