"""Runs every benchmark, prints one table and writes it into docs/performance.md."""

from __future__ import annotations

from bench import fanout, memory, pending, resume, session, table, timers, unary, wake


def main() -> None:
    parts = (unary, session, fanout, resume, wake, timers, memory, pending)
    table.write(table.show([part.measure() for part in parts], "make bench"))


if __name__ == "__main__":
    main()
