"""Nothing that a server prints, logs, answers or exports holds a secret."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import jwt

from holdfast import ActorError, Client, TlsConfig
from tests.server.process import ServerProcess, clean_environment
from tests.server.test_security import TLS

SECRET, TOKEN, WRONG = "k" * 20 + "-of-jwts-" + "k" * 20, "t0ken-of-ada", "wr0ng-t0ken"
ISSUER, AUDIENCE = "https://issuer.example", "holdfast"


@contextmanager
def sink() -> Iterator[tuple[str, list[bytes]]]:
    """Somewhere to export to: its address, and everything that was sent there."""
    sent: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def secrets_of(signed: str) -> list[bytes]:
    """Texts of which none may be seen: a part of a token is enough to find it by."""
    key = (TLS / "server.key").read_text().splitlines()
    texts = [SECRET, TOKEN, WRONG, signed, signed.split(".")[2], key[1], key[len(key) // 2]]
    return [text.encode() for text in texts]


def settings_of(path: Path, flags: list[str]) -> subprocess.CompletedProcess[bytes]:
    """What --check-config shows."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "holdfast_server",
            "serve",
            "app:registry",
            "--check-config",
            *flags,
        ],
        cwd=path,
        env=clean_environment(HOLDFAST_TOKEN=f"ada {TOKEN}"),
        capture_output=True,
        timeout=60,
    )


async def asked_by_url(server: ServerProcess, tokens: list[str]) -> list[bytes]:
    """What the gateway answers to whoever has a token in the path or the query."""
    (line,) = [line for line in server.lines if line.startswith("Gateway on ")]
    gateway, heard = line.split()[2].rstrip(":"), []
    context = ssl.create_default_context(cafile=os.fspath(TLS / "ca.pem"))
    async with aiohttp.ClientSession() as session:
        for token in tokens:
            for path in (
                f"/gateway/x@{token}/action/value",
                f"/gateway/counter/action/value?rvt-token={token}&rvt-key=a",
                f"/nowhere?rvt-token={token}",
            ):
                async with session.post(f"{gateway}{path}", ssl=context) as answer:
                    heard.append(await answer.read() + repr(answer.headers).encode())
    return heard


async def test_no_secret_leaves_a_server(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 600}
    signed = jwt.encode(claims, SECRET, algorithm="HS256")
    expired = jwt.encode({**claims, "exp": 1}, SECRET, algorithm="HS256")
    flags = {
        "--tls-cert": TLS / "server.pem",
        "--tls-key": TLS / "server.key",
        "--jwt-keys": tmp_path / "secret",
        "--jwt-algorithms": "HS256",
        "--jwt-issuer": ISSUER,
        "--jwt-audience": AUDIENCE,
        "--log-level": "debug",
        "--log-format": "json",
    }
    listed = [str(part) for pair in flags.items() for part in pair]
    heard: list[bytes] = []
    with sink() as (address, exported):
        environment = {
            "HOLDFAST_TOKEN": f"ada {TOKEN} role=call",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
        }
        with ServerProcess(tmp_path, *listed, "--access-log", **environment) as server:
            tls = TlsConfig(ca=TLS / "ca.pem")
            for token in (TOKEN, WRONG, signed, expired, f"{signed}x", None):
                for sessions in (True, False):
                    async with Client(
                        server.address, token=token, tls=tls, session=sessions, timeout=10
                    ) as client:
                        try:
                            await client.get_or_create("counter", "a").action("increment")
                        except ActorError as error:
                            heard.append(repr((error, error.metadata)).encode())
            heard += await asked_by_url(server, [TOKEN, WRONG, signed])
            server.stop()
            output = server.output.encode()
    assert exported
    assert len(heard) >= 8
    shown = await asyncio.to_thread(settings_of, tmp_path, listed)
    assert shown.returncode == 0, shown.stderr
    assert b"********" in shown.stdout
    for where, data in (
        ("output", output),
        ("export", b"".join(exported)),
        ("errors", b"".join(heard)),
        ("settings", shown.stdout + shown.stderr),
    ):
        for secret in secrets_of(signed):
            assert secret not in data, where
