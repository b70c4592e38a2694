"""A load client that costs next to nothing: gRPC unary calls over a bare socket.

A gRPC client in Python spends more on a call than the server it measures, and
one in C sends the same body each time, which an idempotency key turns into
replays. This one writes HTTP/2 frames with a body of its own for each call, and
reads no more of an answer than where its frames end. It is right for small
answers of a server that is well: a call without a message in its answer, and
whatever it does not know, is an error.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW_SIZE: Final = 4
_WINDOW_MAX: Final = (1 << 31) - 1
_WINDOW_DEFAULT: Final = 65_535
_RECEIVE_BYTES: Final = 1 << 18
_TIMEOUT_S: Final = 30.0
# Entries of HPACK's static table, and where its dynamic one begins.
_POST, _HTTP, _PATH, _AUTHORITY, _CONTENT_TYPE, _USER_AGENT = 3, 6, 4, 1, 31, 58
_DYNAMIC_FIRST: Final = 62

# Makes the message of a call from its number and the lowest number still open.
MakeMessage = Callable[[int, int], bytes]
OnAnswer = Callable[[bytes], None]


class LoadError(Exception):
    """The server did not answer every call with a message."""


@dataclass(slots=True)
class Sample:
    """What one run measured."""

    seconds: float = 0.0
    # What the load itself used of that, to show that it was no bottleneck.
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.latencies)

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    assert len(data) < 127
    return bytes((len(data),)) + data


def header_blocks(path: str, authority: str) -> tuple[bytes, bytes]:
    """The header block of a first call, which fills the peer's table, and of all others."""
    fields: list[tuple[int | str, str]] = [
        (_PATH, path),
        (_AUTHORITY, authority),
        (_CONTENT_TYPE, "application/grpc"),
        (_USER_AGENT, "holdfast-bench"),
        ("te", "trailers"),
        # Calls of the SDK have a deadline, so these have one too.
        ("grpc-timeout", "60S"),
    ]
    first = rest = bytes((0x80 | _POST, 0x80 | _HTTP))
    for index, (name, value) in enumerate(fields):
        if isinstance(name, int):
            first += bytes((0x40 | name,)) + _text(value)
        else:
            first += b"\x40" + _text(name) + _text(value)
        # The newest entry has the lowest number.
        rest += bytes((0x80 | (_DYNAMIC_FIRST + len(fields) - 1 - index),))
    return first, rest


def _message(body: bytes) -> bytes:
    if int.from_bytes(body[1:5]) != len(body) - 5:
        raise LoadError("an answer came in parts")
    return body[5:]


class Connection:
    """One HTTP/2 connection to `port` of this machine, for calls of one method."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._first, self._rest = header_blocks(path, f"127.0.0.1:{port}")
        # Calls that are open by stream, oldest first, with when they began.
        self._open: dict[int, float] = {}
        self._answered: set[int] = set()
        self._stream = -1
        self._window = _WINDOW_DEFAULT
        self._rest_of_input = b""
        setting = _INITIAL_WINDOW_SIZE.to_bytes(2) + _WINDOW_MAX.to_bytes(4)
        more = (_WINDOW_MAX - _WINDOW_DEFAULT).to_bytes(4)
        self._socket.sendall(
            _PREFACE + frame(SETTINGS, 0, 0, setting) + frame(WINDOW_UPDATE, 0, 0, more)
        )

    def close(self) -> None:
        self._socket.close()

    def run(
        self,
        make: MakeMessage,
        in_flight: int,
        *,
        calls: int = 0,
        seconds: float = 0.0,
        on_answer: OnAnswer | None = None,
    ) -> Sample:
        """Keep `in_flight` calls open until `calls` were made or `seconds` have passed."""
        sample = Sample()
        clock, latencies = time.perf_counter, sample.latencies
        left = calls or (1 << 62)
        began, cpu = clock(), time.process_time()
        ends = began + seconds if seconds else float("inf")
        left -= self._send(make, min(in_flight, left), began)
        while self._open:
            ended = self._receive(on_answer)
            now = clock()
            for stream in ended:
                latencies.append(now - self._open.pop(stream))
            if ended and now < ends:
                left -= self._send(make, min(len(ended), left), now)
        sample.seconds, sample.cpu_seconds = now - began, time.process_time() - cpu
        return sample

    def _send(self, make: MakeMessage, count: int, now: float) -> int:
        """Begin `count` calls; their number."""
        parts: list[bytes] = []
        for _ in range(count):
            self._stream = stream = self._stream + 2
            self._open[stream] = now
            oldest = next(iter(self._open))
            message = make((stream + 1) >> 1, (oldest + 1) >> 1)
            block = self._rest if stream > 1 else self._first
            parts.append(frame(HEADERS, END_HEADERS, stream, block))
            body = b"\x00" + len(message).to_bytes(4) + message
            parts.append(frame(DATA, END_STREAM, stream, body))
            self._window -= len(body)
        if self._window < 0:
            raise LoadError("the calls in flight are more than the server's window allows")
        if parts:
            self._socket.sendall(b"".join(parts))
        return count

    def _receive(self, on_answer: OnAnswer | None) -> list[int]:
        """The calls that what has arrived now has ended."""
        received = self._socket.recv(_RECEIVE_BYTES)
        if not received:
            raise LoadError("the server closed the connection")
        data = self._rest_of_input + received
        ended: list[int] = []
        at, have = 0, len(data)
        while have - at >= 9:
            head = int.from_bytes(data[at : at + 5])
            end = at + 9 + (head >> 16)
            if end > have:
                break
            kind, flags = head >> 8 & 0xFF, head & 0xFF
            stream = int.from_bytes(data[at + 5 : at + 9])
            if kind == DATA:
                self._answered.add(stream)
                if on_answer is not None:
                    on_answer(_message(data[at + 9 : end]))
            elif kind != HEADERS:
                self._control(kind, flags, stream, data[at + 9 : end])
            elif flags & END_STREAM:
                # A call that fails is answered with headers alone.
                if stream not in self._answered:
                    raise LoadError("a call failed")
                self._answered.discard(stream)
                ended.append(stream)
            at = end
        self._rest_of_input = data[at:]
        return ended

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            if stream == 0:
                self._window += int.from_bytes(payload)
        elif kind == PING:
            if not flags & ACK:
                self._socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise LoadError(f"the server sent frame {kind}: {payload.hex()}")
