"""Runs every benchmark, prints one table and writes it into docs/performance.md."""

from __future__ import annotations

from bench import memory, table, unary, wake


def main() -> None:
    results = [unary.measure(), wake.measure(), memory.measure()]
    table.write(table.show(results, "make bench"))


if __name__ == "__main__":
    main()
