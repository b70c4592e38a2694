"""A client's certificate is the same caller over HTTP as over gRPC."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast_server.core.auth import Identity
from holdfast_server.gateway.connect.certificate import properties_of
from holdfast_server.rpc.auth import by_certificate
from holdfast_server.rpc.direct import DirectContext
from tests.asgi_server import served
from tests.gateway.rpc_actors import registry
from tests.gateway.rpcs import ACTORS, encoded, invoke

TLS = Path(__file__).resolve().parents[1] / "server" / "tls"


def file(name: str) -> bytes:
    return (TLS / name).read_bytes()


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Keeps what gRPC tells of its caller."""

    seen: dict[str, list[bytes]]
    key: str
    caller: Identity

    async def Check(self, request: Any, context: Any) -> Any:
        self.seen = {name: list(values) for name, values in context.auth_context().items()}
        self.key = context.peer_identity_key()
        self.caller = by_certificate(context)
        return health_pb2.HealthCheckResponse()


async def over_grpc(name: str) -> Health:
    """What gRPC tells of a certificate."""
    health = Health()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    credentials = grpc.ssl_server_credentials(
        [(file("server.key"), file("server.pem"))], file("ca.pem"), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    shown = grpc.ssl_channel_credentials(file("ca.pem"), file(f"{name}.key"), file(f"{name}.pem"))
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", shown) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await server.stop(None)
    return health


@asynccontextmanager
async def over_tls(name: str | None) -> AsyncIterator[Mapping[str, tuple[bytes, ...]]]:
    """What we tell of one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    context.load_verify_locations(TLS / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: asyncio.Future[dict[str, tuple[bytes, ...]]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(properties_of(writer.transport))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    client = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    if name is not None:
        client.load_cert_chain(TLS / f"{name}.pem", TLS / f"{name}.key")
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
    try:
        yield await seen
    finally:
        writer.close()
        server.close()


# A common name alone, and alternative names of two kinds beside it.
@pytest.mark.parametrize("name", ["ada", "server"])
async def test_a_certificate_is_the_same_caller(name: str) -> None:
    health = await over_grpc(name)
    async with over_tls(name) as properties:
        context: Any = DirectContext(asyncio.get_running_loop(), None, (), certificate=properties)

    for key, values in properties.items():
        assert sorted(values) == sorted(health.seen[key]), key
    assert context.peer_identity_key() == health.key
    assert by_certificate(context).caller == health.caller.caller


async def test_without_one_nobody_is_the_caller() -> None:
    async with over_tls(None) as properties:
        assert properties == {}
    assert properties_of(None) == {}


async def test_inside_an_application_a_key_has_no_owner_where_certificates_name_them(
    tmp_path: Path,
) -> None:
    files = {name: str(TLS / file) for name, file in (
        ("tls_cert", "server.pem"), ("tls_key", "server.key"), ("tls_client_ca", "ca.pem"),
    )}  # fmt: skip
    mounted = registry.asgi(data=str(tmp_path), grpc="off", admin="off", **files)
    statuses = []
    async with served(mounted) as session:
        for message in (invoke("add"), invoke("add", idempotency_key="k")):
            body, headers = encoded("json", message), {"content-type": "application/json"}
            url = f"{ACTORS}/InvokeAction"
            async with session.post(url, data=body, headers=headers) as response:
                statuses.append(response.status)

    assert statuses == [200, 401]
