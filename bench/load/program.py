"""The C load generator: built when it is first needed, and driven as any load."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.load.driver import PATIENCE_S, LoadError, Sample
from bench.servers import ROOT

_SOURCE = Path(__file__).with_name("load.c")
_BUILT = ROOT / "build" / "bench" / "load"
# Connections that WebSocket actions are pipelined over.
CONNECTIONS = 16


class Missing(Exception):
    """Something that a measurement needs is not on this machine; says what."""


@cache
def program() -> Path:
    """The program, built from its source if that is newer; Missing without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Missing("no C compiler")
    if not _BUILT.exists() or _BUILT.stat().st_mtime < _SOURCE.stat().st_mtime:
        _BUILT.parent.mkdir(parents=True, exist_ok=True)
        new = _BUILT.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", str(new), str(_SOURCE)], check=True)
        new.replace(_BUILT)
    return _BUILT


def available() -> bool:
    """Whether the program can be had."""
    try:
        program()
    except Missing:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Lane:
    """What one connection sends: what opens it, and its messages in turn."""

    messages: Sequence[bytes]
    opening: bytes = b""
    greetings: int = 0

    def pack(self) -> bytes:
        parts = [_piece(self.opening), struct.pack("<II", self.greetings, len(self.messages))]
        return b"".join(parts + [_piece(each) for each in self.messages])


def _piece(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def run(
    mode: str, port: int, lanes: Sequence[Lane], depth: int, seconds: float, answer: str = "-"
) -> Sample:
    """One run of the program."""
    plan = struct.pack("<I", len(lanes)) + b"".join(lane.pack() for lane in lanes)
    command = [str(program()), mode, str(port), str(depth), str(seconds), answer]
    done = subprocess.run(command, input=plan, capture_output=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise LoadError(done.stderr.decode(errors="replace").strip())
    return Sample(**json.loads(done.stdout))


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """One request in flight on each of as many connections as calls are to be in flight."""

    port: int
    requests: Sequence[bytes]
    add_up: Callable[[], int]

    def run(self, in_flight: int, seconds: float) -> Sample:
        requests = self.requests
        lanes = [
            Lane(requests[index::in_flight] or requests[index % len(requests) :])
            for index in range(in_flight)
        ]
        return run("http", self.port, lanes, 1, seconds)

    def total(self) -> int:
        return self.add_up()


@dataclass(frozen=True, slots=True)
class WebSocketLoad:
    """Calls pipelined over at most as many connections as lanes, each to an actor of its own."""

    port: int
    lanes: Sequence[Lane]
    answer: str
    add_up: Callable[[], int]

    def run(self, in_flight: int, seconds: float) -> Sample:
        count = min(in_flight, len(self.lanes))
        lanes = self.lanes[:count]
        return run("ws", self.port, lanes, in_flight // count, seconds, self.answer)

    def total(self) -> int:
        return self.add_up()
