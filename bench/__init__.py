"""Benchmarks: what a call, an event, a wake and an awake actor cost, as ratios of one run.

`python -m bench` (or `make bench`) runs all of them, prints one table and writes
it into docs/performance.md; `python -m bench.unary` and so on run one. They
start the server as a user does, on a directory of this disk, and need Linux.
"""
