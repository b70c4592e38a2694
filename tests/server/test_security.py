"""Tokens, TLS and the admin port, as callers meet them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from typer.testing import CliRunner

from holdfast import ActorError, Client, TlsConfig
from holdfast.cli.commands import app
from holdfast.v1 import actor_service_pb2, actor_service_pb2_grpc
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.server.actors import Counter, registry
from tests.server.process import ServerProcess, clean_environment

TLS = Path(__file__).parent / "tls"
SERVER_TLS = {"tls_cert": TLS / "server.pem", "tls_key": TLS / "server.key"}


@asynccontextmanager
async def serving(tmp_path: Path, **settings: Any) -> AsyncIterator[Server]:
    flags = {"data": tmp_path / "data", "grpc": "127.0.0.1:0", **settings}
    server = Server(registry, load({}, **flags))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def client_of(server: Server, **options: Any) -> Client:
    return Client(f"127.0.0.1:{server.port}", timeout=10, **options)


async def increment(server: Server, key: str | None = None, **options: Any) -> int:
    async with client_of(server, **options) as client:
        counter = client.get_or_create(Counter, ["a"])
        return await counter.with_options(idempotency_key=key).increment(1)


async def refusal(server: Server, **options: Any) -> ActorError:
    with pytest.raises(ActorError) as caught:
        await increment(server, **options)
    return caught.value


async def health_of(port: int, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


async def reflected(port: int) -> set[str]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([asked])):
            return {service.name for service in answer.list_services_response.service}
    raise AssertionError("no answer")


async def channelz_of(port: int, token: str | None = None) -> int:
    """How many gRPC servers of this process channelz knows, also of tests before."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        request = channelz_pb2.GetServersRequest()
        return len((await stub.GetServers(request, metadata=metadata)).server)


# Tokens


async def test_without_an_accepted_token_nothing_is_answered_but_health(tmp_path: Path) -> None:
    async with serving(tmp_path, token="first,second") as server:
        assert await increment(server, token="first") == 1
        assert await increment(server, token="second") == 2
        for token in (None, "third", "firs", "first ", "FIRST", "first,second", "x" * 5000):
            error = await refusal(server, token=token)
            assert (error.group, error.code) == ("auth", "unauthenticated")
            assert error.reason == "UNAUTHENTICATED"
            assert not error.retryable
        assert await increment(server, token="first") == 3
        for port in (server.port, server.admin_port):
            assert await health_of(port) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic first", "first"])
async def test_a_malformed_authorization_is_no_token(tmp_path: Path, value: str) -> None:
    async with (
        serving(tmp_path, token="first") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = actor_service_pb2_grpc.ActorServiceStub(channel)
        request = actor_service_pb2.DescribeActorsRequest()
        assert await stub.DescribeActors(request, metadata=(("authorization", "bearer first"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DescribeActors(request, metadata=(("authorization", value),))

        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_streams_reflection_channelz_and_unknown_methods_need_a_token_too(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, token="first") as server:
        async with client_of(server) as client:
            with pytest.raises(ActorError, match="unauthenticated"):
                _ = [item async for item in client.get_or_create(Counter, ["a"]).stream(1)]
        for call in (reflected(server.port), channelz_of(server.admin_port)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/no.such.Service/Method")(b"")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await channelz_of(server.admin_port, "first") >= 2


async def test_keys_belong_to_their_caller(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# callers\nada old-ada\nada new-ada\n\nbob bobs\nnobody\n")
    async with serving(tmp_path, token_file=tokens) as server:
        assert await increment(server, "k", token="old-ada") == 1
        assert await increment(server, "k", token="new-ada") == 1
        assert await increment(server, "k", token="bobs") == 2
        assert await increment(server, "k", token="nobody") == 3
        assert await increment(server, "k", token="old-ada") == 1
        assert await increment(server, "k", token="nobody") == 3


async def test_without_tokens_all_callers_share_their_keys(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert await increment(server, "k", token="any") == 1
        assert await increment(server, "k") == 1


async def test_sighup_reads_the_tokens_again_and_keeps_them_on_a_mistake(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first\n")
    with ServerProcess(tmp_path, "--token-file", "tokens") as server:

        async def accepted(token: str) -> bool:
            async with Client(server.address, token=token, timeout=10) as client:
                try:
                    await client.get_or_create("counter", "a").action("increment")
                except ActorError as error:
                    return error.code != "unauthenticated"
                return True

        assert await accepted("first")
        assert not await accepted("second")
        tokens.write_text("first\nsecond\n")
        server.signal(signal.SIGHUP)
        server.wait_for("SIGHUP: 2 tokens in force")
        assert await accepted("first")
        assert await accepted("second")
        tokens.write_text("second\n")
        server.signal(signal.SIGHUP)
        server.wait_for("SIGHUP: 1 tokens in force")
        assert not await accepted("first")
        tokens.write_text("")
        server.signal(signal.SIGHUP)
        server.wait_for("SIGHUP: nothing was changed: --token-file: tokens holds no token")
        assert await accepted("second")
        assert "first" not in server.output


# TLS


async def test_tls_needs_a_client_that_trusts_it(tmp_path: Path) -> None:
    async with serving(tmp_path, **SERVER_TLS) as server:
        assert await increment(server, tls=TlsConfig(ca=TLS / "ca.pem")) == 1
        assert await increment(server, tls=TlsConfig(ca=(TLS / "ca.pem").read_bytes())) == 2
        for tls in (False, True, TlsConfig(ca=TLS / "mallory.pem")):
            async with Client(f"127.0.0.1:{server.port}", timeout=0.3, tls=tls) as client:
                with pytest.raises(ActorError) as caught:
                    await client.get_or_create(Counter, ["a"]).increment(1)
                assert caught.value.reason == "UNAVAILABLE"


async def test_client_certificates_are_required_and_name_the_caller(tmp_path: Path) -> None:
    def as_(name: str) -> TlsConfig:
        return TlsConfig(
            ca=TLS / "ca.pem", certificate=TLS / f"{name}.pem", key=TLS / f"{name}.key"
        )

    async with serving(tmp_path, **SERVER_TLS, tls_client_ca=TLS / "ca.pem") as server:
        assert await increment(server, "k", tls=as_("ada")) == 1
        assert await increment(server, "k", tls=as_("bob")) == 2
        assert await increment(server, "k", tls=as_("ada")) == 1
        for tls in (TlsConfig(ca=TLS / "ca.pem"), as_("mallory")):
            async with Client(f"127.0.0.1:{server.port}", timeout=0.3, tls=tls) as client:
                with pytest.raises(ActorError) as caught:
                    await client.get_or_create(Counter, ["a"]).increment(1)
                assert caught.value.reason == "UNAVAILABLE"


async def test_new_tls_files_are_used_for_new_connections(tmp_path: Path) -> None:
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_bytes((TLS / name).read_bytes())
    files = {"tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    async with serving(tmp_path, **files) as server:
        trusting = TlsConfig(ca=TLS / "ca.pem", server_name="renewed")
        async with client_of(server, tls=TlsConfig(ca=TLS / "ca.pem")) as before:
            counter = before.get_or_create(Counter, ["a"])
            assert await counter.increment(1) == 1
            for name in ("pem", "key"):
                (tmp_path / f"server.{name}").write_bytes((TLS / f"renewed.{name}").read_bytes())
            server.security.reload()

            assert await counter.increment(1) == 2
            assert await increment(server, tls=trusting) == 3


# The command line client


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from holdfast.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(**environment), timeout=30
    )


def test_the_command_line_speaks_tls_and_shows_its_token(tmp_path: Path) -> None:
    flags = ["--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key")]
    with ServerProcess(tmp_path, *flags, HOLDFAST_TOKEN="first") as server:
        where = ["--server", server.address, "--ca", str(TLS / "ca.pem"), "--json"]
        call = ["call", "counter", "a", "increment", "2"]

        done = cli(*where, "--token", "first", *call)
        assert (done.returncode, done.stdout) == (0, "2\n")
        refused = cli(*where, *call)
        assert refused.returncode == 1
        assert json.loads(refused.stderr)["error"]["code"] == "unauthenticated"
        healthy = cli(*where, "health", HOLDFAST_TOKEN="wrong")
        assert (healthy.returncode, json.loads(healthy.stdout)["serving"]) == (0, True)
        assert "first" not in server.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ca", "none.pem"], "does not exist"),
        (["--cert", str(TLS / "ada.pem")], "--cert and --key go together"),
    ],
)
def test_the_command_line_refuses_wrong_tls_options(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, [*options, "health"], terminal_width=200)

    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


# The admin port, reflection and health


async def test_channelz_is_on_the_admin_port_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert await channelz_of(server.admin_port) >= 2
        assert "grpc.channelz.v1.Channelz" in await reflected(server.admin_port)
        assert "grpc.channelz.v1.Channelz" not in await reflected(server.port)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channelz_of(server.port)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_of_the_public_port_can_be_off(tmp_path: Path) -> None:
    async with serving(tmp_path, reflection=False) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(server.port)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "grpc.health.v1.Health" in await reflected(server.admin_port)


async def test_the_admin_port_can_be_off(tmp_path: Path) -> None:
    async with serving(tmp_path, admin="off") as server:
        assert server.admin_port == 0
        assert await increment(server) == 1


async def test_health_knows_each_service(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        names = ["", "grpc.health.v1.Health", *await reflected(server.port)]
        for name in names:
            if not name.startswith("grpc.reflection"):
                assert await health_of(server.port, name) == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_of(server.port, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
