"""`--supervised`: a server that dies comes back, and nobody is refused meanwhile."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

from holdfast import HoldfastError
from holdfast.blocking import Client
from tests.server.process import COUNTER, Process
from tests.server_process import free_port

STUCK = """
import asyncio
from holdfast import Actor, Context, action, setup

class Stuck(Actor[dict]):
    state = dict

    @action
    async def hang(self, c: Context) -> None:
        print("is stuck", flush=True)
        await asyncio.Event().wait()

registry = setup(use={"stuck": Stuck})
"""


class Supervised(Process):
    """A supervisor and its children, one after another."""

    def __init__(self, directory: Path, app: str = COUNTER, data: str = "data", **env: str) -> None:
        (directory / "app.py").write_text(app)
        self.address, self.http_port = f"127.0.0.1:{free_port()}", free_port()
        addresses = ["--grpc", self.address, "--http", f"127.0.0.1:{self.http_port}"]
        serve = ["-m", "holdfast_server", "serve", "app:registry", "--supervised", "--admin", "off"]
        super().__init__([*serve, *addresses, "--data", data], directory, **env)

    def serving(self, times: int = 1) -> int:
        """Wait until the child of so many starts serves; its pid."""
        self.wait_for(lambda _: self.output_of("serves gRPC") >= times)
        return self.children()[times - 1]

    def output_of(self, text: str) -> int:
        """How many lines hold the text; for `wait_for`, which holds the lock."""
        return sum(text in line for line in self.lines)

    def children(self) -> list[int]:
        """The processes that have begun, in their order."""
        return [int(found) for found in re.findall(r"process (\d+), settings", self.output)]

    def connect(self) -> socket.socket:
        """A connection to the gateway."""
        return socket.create_connection(("127.0.0.1", self.http_port), 20)


def test_a_killed_server_comes_back_and_nobody_is_refused(tmp_path: Path) -> None:
    refused: list[OSError] = []
    done = threading.Event()
    with Supervised(tmp_path) as server:
        first = server.serving()

        def knock() -> None:
            while not done.is_set():
                try:
                    server.connect().close()
                except OSError as error:
                    refused.append(error)

        with Client(server.address) as client:
            counter = client.get_or_create("counter", ["a"])
            assert counter.action("increment", 2) == 2
            knocking = threading.Thread(target=knock)
            knocking.start()
            os.kill(first, signal.SIGKILL)
            assert counter.action("increment", 3) == 5
            done.set()
            knocking.join()

        assert refused == []
        assert server.serving(2) != first
        server.wait_for("the server ended with SIGKILL; it starts again in 0.0 s")
        url = f"http://127.0.0.1:{server.http_port}/health"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.status == 200
        assert server.stop() == 0
    assert "drained" in server.output


def test_a_request_that_comes_while_there_is_no_server_is_answered(tmp_path: Path) -> None:
    with Supervised(tmp_path) as server:
        child = server.serving()
        # It takes no connection any more, so that this one waits for the next child.
        os.kill(child, signal.SIGSTOP)
        with server.connect() as waiting:
            waiting.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            os.kill(child, signal.SIGKILL)
            answer = b"".join(iter(lambda: waiting.recv(4096), b""))

    # 503 with a time to come back where the server is still starting.
    assert answer.split(b"\r\n")[0] in (b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable")


def test_a_supervisor_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    with Supervised(tmp_path) as server:
        server.serving()
        server.signal(signal.SIGKILL)
        # The output ends with the last process that could write to it.
        server.wait()
        assert server.silent

    with Supervised(tmp_path) as again:
        again.serving()


def test_what_cannot_start_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Supervised(tmp_path, data="file/data") as server:
        assert server.wait() == 1

    assert "error:" in server.output
    assert len(server.children()) == 1


def test_a_gateway_whose_port_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Supervised(tmp_path, HOLDFAST_HTTP="off") as server:
            server.serving()
        command = ["-m", "holdfast_server", "serve", "app:registry", "--supervised"]
        with Process([*command, "--http", f"127.0.0.1:{port}"], tmp_path) as refused:
            assert refused.wait() == 1

    assert f"--http: cannot listen on 127.0.0.1:{port}: Address already in use" in refused.output


def test_a_server_that_keeps_dying_waits_longer_each_time(tmp_path: Path) -> None:
    with Supervised(tmp_path, HOLDFAST_RESTART_WAIT_S="0.15") as server:
        for times in range(1, 4):
            os.kill(server.serving(times), signal.SIGKILL)
        server.serving(4)

    waits = re.findall(r"starts again in ([\d.]+) s", server.output)
    assert waits == ["0.0", "0.1", "0.1"]


def test_a_second_signal_ends_both_at_once(tmp_path: Path) -> None:
    with Supervised(tmp_path, STUCK) as server, Client(server.address, timeout=60) as client:
        server.serving()
        failed: list[HoldfastError] = []

        def hang() -> None:
            try:
                client.get_or_create("stuck", ["a"]).action("hang")
            except HoldfastError as error:
                failed.append(error)

        threading.Thread(target=hang, daemon=True).start()
        server.wait_for("is stuck")
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        server.signal(signal.SIGTERM)

        assert server.wait() == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_signal_while_it_waits_ends_it(tmp_path: Path) -> None:
    with Supervised(tmp_path) as server:
        child = server.serving()
        (tmp_path / "app.py").write_text("raise RuntimeError('broken')")
        os.kill(child, signal.SIGKILL)
        server.wait_for("exit code 2; it starts again in 1.6 s")
        server.signal(signal.SIGINT)

        assert server.wait() == 0
