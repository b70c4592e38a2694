"""The systems that are measured, Holdfast first."""

from __future__ import annotations

from typing import Final

from bench.peers import holdfast
from bench.peers.ray import peer as ray
from bench.peers.restate import peer as restate
from bench.peers.rivet_engine import peer as rivet_engine
from bench.peers.rivetkit import peer as rivetkit
from bench.peers.subject import Start
from bench.peers.workerd import peer as workerd

OURS: Final = "Holdfast"
ALL: Final[dict[str, Start]] = {
    OURS: holdfast.start,
    "RivetKit 2.0.33": rivetkit.start,
    "Rivet engine 2.3.19": rivet_engine.start,
    "workerd": workerd.start,
    "Restate": restate.start,
    "Ray": ray.start,
}
# Those that RivetKit's clients call over HTTP and WebSocket.
GATEWAYS: Final = (OURS, "RivetKit 2.0.33", "Rivet engine 2.3.19")
