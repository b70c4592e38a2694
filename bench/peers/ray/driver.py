"""A load by Ray's own client on actors of a Ray of its own, on 127.0.0.1.

`python driver.py DIRECTORY ACTORS`, by the Python that requirements.txt was installed
into. It is asked by a line of JSON each, and answers so, as bench/load/driver.py says.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray

_MARKS = ("50", "90", "99", "99.9", "100")


class _Counter:
    """State in memory alone: Ray keeps none."""

    def __init__(self) -> None:
        self._value = 0

    def increment(self, by: int) -> int:
        self._value += by
        return self._value

    def value(self) -> int:
        return self._value


# They share the cores, as the actors of the other systems do.
Counter: Any = ray.remote(num_cpus=0)(_Counter)


def measure(actors: list[Any], in_flight: int, seconds: float) -> dict[str, object]:
    """Keep so many calls open for so long."""
    clock = time.perf_counter
    latencies: list[float] = []
    sent: dict[Any, float] = {}
    begun = 0
    cpu, began = time.process_time(), clock()
    now, ends = began, began + seconds
    while sent or now < ends:
        while now < ends and len(sent) < in_flight:
            sent[actors[begun % len(actors)].increment.remote(1)] = now
            begun += 1
        # All that have come by then are taken at once.
        ready, _ = ray.wait(list(sent), num_returns=1, fetch_local=False)
        if in_flight > 1:
            ready, _ = ray.wait(list(sent), num_returns=len(sent), timeout=0, fetch_local=False)
        ray.get(ready)
        now = clock()
        latencies += [now - sent.pop(each) for each in ready]
    used = time.process_time() - cpu
    latencies.sort()
    ranks = {mark: round(float(mark) / 100 * (len(latencies) - 1)) for mark in _MARKS}
    return {
        "calls": len(latencies),
        "seconds": now - began,
        "cpu_seconds": used,
        "percentiles": {mark: latencies[rank] * 1e6 for mark, rank in ranks.items()},
    }


def main(directory: str, count: str) -> None:
    ray.init(
        include_dashboard=False,
        _temp_dir=directory,
        object_store_memory=100_000_000,
        logging_level="error",
        log_to_driver=False,
    )
    actors = [Counter.remote() for _ in range(int(count))]
    ray.get([actor.increment.remote(0) for actor in actors])
    print("{}", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if question.get("total"):
            answer: dict[str, object] = {
                "total": sum(ray.get([actor.value.remote() for actor in actors]))
            }
        else:
            answer = measure(actors, question["in_flight"], question["seconds"])
        print(json.dumps(answer), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
