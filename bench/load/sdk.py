"""A load by the SDK: increments over one session.

`python sdk.py PORT PREFIX ACTORS` uses what is public of the `holdfast` that its Python
has installed, so that it runs with older revisions too. It is asked by a line of JSON
each, and answers so, as bench/load/driver.py says.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from holdfast import Client

_MARKS = ("50", "90", "99", "99.9", "100")


async def measure(handles: list[Any], in_flight: int, seconds: float) -> dict[str, object]:
    """Keep so many calls open for so long."""
    clock = time.perf_counter
    latencies: list[float] = []
    begun = 0
    cpu, began = time.process_time(), clock()
    last, ends = began, began + seconds

    async def caller() -> None:
        nonlocal begun, last
        sent = clock()
        while sent < ends:
            handle = handles[begun % len(handles)]
            begun += 1
            await handle.action("increment", 1)
            last = clock()
            latencies.append(last - sent)
            sent = last

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    used = time.process_time() - cpu
    latencies.sort()
    ranks = {mark: round(float(mark) / 100 * (len(latencies) - 1)) for mark in _MARKS}
    return {
        "calls": len(latencies),
        "seconds": last - began,
        "cpu_seconds": used,
        "percentiles": {mark: latencies[rank] * 1e6 for mark, rank in ranks.items()},
    }


async def main(port: str, prefix: str, actors: str) -> None:
    async with Client(f"127.0.0.1:{port}") as client:
        handles = [
            client.get_or_create("counter", [prefix, str(index)]) for index in range(int(actors))
        ]
        await asyncio.gather(*(handle.action("increment", 0) for handle in handles))
        print("{}", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            question = json.loads(line)
            if question.get("total"):
                values = [await handle.action("value") for handle in handles]
                answer: dict[str, object] = {"total": sum(values)}
            else:
                answer = await measure(handles, question["in_flight"], question["seconds"])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
