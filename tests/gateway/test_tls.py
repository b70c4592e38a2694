"""The gateway over TLS: the files of gRPC, for pages and for WebSockets."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest

from holdfast_server.app import Server
from tests.gateway.conftest import Start
from tests.gateway.raw import Line, line_to, request
from tests.server.probe import until

TLS = Path(__file__).resolve().parents[1] / "server" / "tls"
FILES = {"tls_cert": str(TLS / "server.pem"), "tls_key": str(TLS / "server.key")}


def trusting(name: str | None = None) -> ssl.SSLContext:
    """What a client trusts, and shows of itself."""
    context = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    if name is not None:
        context.load_cert_chain(TLS / f"{name}.pem", TLS / f"{name}.key")
    return context


def url(server: Server, path: str, scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{server.http_port}{path}"


async def test_pages_and_websockets_over_tls(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start(**FILES)
    context = trusting()

    async with session.get(url(server, "/health"), ssl=context) as response:
        assert response.status == 200
    path = "/gateway/counter/connect?rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=x"
    async with session.ws_connect(
        url(server, path, "wss"), ssl=context, protocols=("rivet", "rivet_encoding.json")
    ) as socket:
        assert "Init" in await socket.receive_str()
    with pytest.raises(aiohttp.ClientError):
        await session.get(url(server, "/health", "http"))
    with pytest.raises(aiohttp.ClientError):
        await session.get(url(server, "/health"), ssl=ssl.create_default_context())


async def test_client_certificates_are_required_where_they_are_for_grpc(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start(**FILES, tls_client_ca=str(TLS / "ca.pem"))

    async with session.get(url(server, "/health"), ssl=trusting("ada")) as response:
        assert response.status == 200
    for name in (None, "mallory"):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(url(server, "/health"), ssl=trusting(name))


async def test_new_files_are_used_for_new_connections(start: Start, tmp_path: Path) -> None:
    for name in ("pem", "key"):
        (tmp_path / f"server.{name}").write_bytes((TLS / f"server.{name}").read_bytes())
    server = await start(
        tls_cert=str(tmp_path / "server.pem"), tls_key=str(tmp_path / "server.key")
    )
    context = trusting()
    context.check_hostname = False

    async def dial() -> tuple[set[str], Line]:
        """The names in the server's certificate, and an open line."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=context)
        certificate = writer.get_extra_info("peercert")
        return {name for _, name in certificate["subjectAltName"]}, Line(reader, writer)

    names, before = await dial()
    assert "renewed" not in names
    for name in ("pem", "key"):
        (tmp_path / f"server.{name}").write_bytes((TLS / f"renewed.{name}").read_bytes())
    server.reload()
    await until(lambda: server._renewing is not None and server._renewing.done())

    names, after = await dial()
    assert "renewed" in names
    # One that is open goes on.
    for line in (before, after):
        await line.send(request("GET", "/health"))
        assert (await line.response())[0] == 200
        line.hang_up()


async def test_a_handshake_that_does_not_come_is_not_waited_for(start: Start) -> None:
    server = await start(**FILES, http_header_timeout_s=0.05)
    async with line_to(server) as line:
        await line.send(b"\x16\x03\x01")
        assert await line.rest() == b""
