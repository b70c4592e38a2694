"""Increments through the gateway: over HTTP and pipelined over WebSockets, by npm clients and in C.

Beside it stand RivetKit's own server, which does not sync, and the Rivet engine, under the
same load in the same run. These are rows of the peers' table; this prints them alone.
"""

from __future__ import annotations

from bench.peers.__main__ import main
from bench.peers.catalog import GATEWAYS

if __name__ == "__main__":
    main(list(GATEWAYS))
