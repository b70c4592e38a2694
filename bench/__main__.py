"""Runs every benchmark, prints one table and writes it into docs/performance.md."""

from __future__ import annotations

from bench import fanout, memory, resume, session, table, unary, wake


def main() -> None:
    parts = (unary, session, fanout, resume, wake, memory)
    table.write(table.show([part.measure() for part in parts], "make bench"))


if __name__ == "__main__":
    main()
