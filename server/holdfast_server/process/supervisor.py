"""The supervisor: keeps the gateway's port open, and the server behind it running.

The server is a child process, the same command once more. A child that dies is
started again; connections that arrive meanwhile wait in the port's queue, so that
none is refused. One that never came up ends the supervisor too: the same settings
would fail again. A supervisor that is killed takes its child along.

| state    | child | a signal        | the child serves | the child dies | the wait is over |
|----------|-------|-----------------|------------------|----------------|------------------|
| starting | yes   | stopping        | serving          | ended          |                  |
| serving  | yes   | stopping        |                  | waiting        |                  |
| waiting  | no    | ended           |                  |                | again            |
| again    | yes   | stopping        | serving          | waiting        |                  |
| stopping | yes   | (passed on too) |                  | ended          |                  |
"""

from __future__ import annotations

import enum
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast_server.process.failures import FAILED, OK
from holdfast_server.process.parent import Parent

__all__ = ["Supervised", "Supervisor"]

log = logging.getLogger("holdfast.supervisor")

# Names the descriptors of a child; not a setting, so not HOLDFAST_*.
_VARIABLE: Final = "_HOLDFAST_SUPERVISED"
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT)
# A child that has served for so long starts again at once when it dies.
_STEADY_S: Final = 10.0
_FIRST_WAIT_S: Final = 0.1
_NONE: Final = -1


class _State(enum.Enum):
    STARTING = enum.auto()
    SERVING = enum.auto()
    WAITING = enum.auto()
    AGAIN = enum.auto()
    STOPPING = enum.auto()
    ENDED = enum.auto()


_AFTER_SIGNAL: Final = {
    _State.STARTING: _State.STOPPING,
    _State.SERVING: _State.STOPPING,
    _State.WAITING: _State.ENDED,
    _State.AGAIN: _State.STOPPING,
}
_AFTER_SERVES: Final = {_State.STARTING: _State.SERVING, _State.AGAIN: _State.SERVING}
_AFTER_DEATH: Final = {
    _State.STARTING: _State.ENDED,
    _State.SERVING: _State.WAITING,
    _State.AGAIN: _State.WAITING,
    _State.STOPPING: _State.ENDED,
}


class Supervised(NamedTuple):
    """What a child has of its supervisor."""

    parent: Parent
    # Where to say that this process serves.
    ready: int
    # The gateway's listening sockets; empty when there is no gateway.
    http: list[socket.socket]

    @classmethod
    def of_environment(cls) -> Supervised | None:
        """What this process has been given, once; None when nobody supervises it."""
        text = os.environ.pop(_VARIABLE, None)
        if text is None:
            return None
        alive, ready, *http = (int(part) for part in text.split(","))
        for each in (alive, ready, *http):
            os.set_inheritable(each, False)
        # Everything acknowledged is on the disk, and the next server wants its place.
        parent = Parent(alive, lambda: os._exit(FAILED))
        return cls(parent, ready, [socket.socket(fileno=each) for each in http])

    def serves(self) -> None:
        """Tell the supervisor that this process serves."""
        os.write(self.ready, b"1")
        os.close(self.ready)


class Supervisor:
    """One child and its restarts."""

    def __init__(self, http: Sequence[socket.socket], wait_s_max: float) -> None:
        """`http` are the listening sockets of the gateway; a restart waits up to `wait_s_max`."""
        self._http = [each.fileno() for each in http]
        self._kept = http
        self._wait_s_max = wait_s_max
        self._wait_s = 0.0
        self._again_at = self._served_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._code = OK

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT has ended the child; the exit code."""
        self._numbers, written = socket.socketpair()
        written.setblocking(False)
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._numbers, selectors.EVENT_READ)
        self._start(_State.STARTING)
        while self._state is not _State.ENDED:
            for key, _ in self._selector.select(self._wait()):
                if key.fileobj is self._numbers:
                    for each in self._numbers.recv(64):
                        self._signalled(each)
                else:
                    self._told()
            if self._child is not None and (code := self._child.poll()) is not None:
                self._died(code)
            if self._wait() == 0:
                self._start(_State.AGAIN)
        return self._code

    def _wait(self) -> float | None:
        """Seconds until the next start; None when none is planned."""
        if self._state is not _State.WAITING:
            return None
        return max(0.0, self._again_at - time.monotonic())

    def _start(self, state: _State) -> None:
        self._state = state
        alive, self._alive = os.pipe()
        self._ready, ready = os.pipe()
        self._selector.register(self._ready, selectors.EVENT_READ)
        passed = [alive, ready, *self._http]
        try:
            self._child: subprocess.Popen[bytes] | None = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, _VARIABLE: ",".join(map(str, passed))},
                pass_fds=passed,
                # A Ctrl-C must reach the child once, by way of this process.
                start_new_session=True,
            )
        finally:
            os.close(alive)
            os.close(ready)

    def _signalled(self, number: int) -> None:
        if number in _PASSED_ON:
            self._state = _AFTER_SIGNAL.get(self._state, self._state)
            number = signal.SIGTERM
        if self._child is not None and number != signal.SIGCHLD:
            self._child.send_signal(number)

    def _told(self) -> None:
        """The child serves, or has let go of its pipe."""
        served = os.read(self._ready, 1)
        self._forget_ready()
        if served:
            self._state = _AFTER_SERVES.get(self._state, self._state)
            self._served_at = time.monotonic()

    def _died(self, code: int) -> None:
        self._child = None
        os.close(self._alive)
        if self._ready != _NONE:
            self._forget_ready()
        now = time.monotonic()
        if self._state is _State.SERVING and now - self._served_at >= _STEADY_S:
            self._wait_s = 0.0
        self._state = _AFTER_DEATH[self._state]
        self._code = code if code >= 0 else FAILED
        if self._state is _State.WAITING:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.error("the server ended with %s; it starts again in %.1f s", how, self._wait_s)
            self._again_at = now + self._wait_s
            self._wait_s = min(max(_FIRST_WAIT_S, 2 * self._wait_s), self._wait_s_max)
            self._code = OK

    def _forget_ready(self) -> None:
        self._selector.unregister(self._ready)
        os.close(self._ready)
        self._ready = _NONE
