"""Runs every benchmark, prints the tables, and writes them into docs/performance.md and as JSON.

First those of Holdfast alone, then Holdfast beside its peers (`bench.peers`).
"""

from __future__ import annotations

from bench import fanout, idle, memory, pending, record, resume, session, table, timers, unary, wake
from bench.peers import __main__ as peers

COMMAND = "make bench"


def main() -> None:
    parts = (unary, session, fanout, resume, wake, timers, memory, idle, pending)
    results = [part.measure() for part in parts]
    table.write(table.show(results, COMMAND))
    record.write("bench", COMMAND, {"results": record.results(results)})
    peers.main([])


if __name__ == "__main__":
    main()
