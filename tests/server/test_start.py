"""What stands in the way of a start: said in one line, with an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import Client
from holdfast_server import settings
from holdfast_server.__main__ import main
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.core.ids import SHARD_COUNT
from holdfast_server.process.failures import StartError
from holdfast_server.process.system import loop_factory
from holdfast_server.store import format as store_format
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.rocks import RocksStore
from tests.server.actors import registry
from tests.server.process import COUNTER, Process, ServerProcess
from tests.server_process import free_port

TLS = Path(__file__).parent / "tls"


@pytest.fixture
def busy() -> Iterator[int]:
    """A port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def start(tmp_path: Path, *flags: str) -> int:
    defaults = ["--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    return main(["serve", "tests.server.actors:registry", *defaults, *flags])


def said(capfd: pytest.CaptureFixture[str]) -> str:
    error = capfd.readouterr().err
    assert "Traceback" not in error
    return next(line for line in error.splitlines() if line.startswith("error: "))


def test_a_directory_in_use_is_named_with_its_user(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(RocksStore(tmp_path / "data")):
        assert start(tmp_path) == 1

    assert "is in use by process" in said(capfd)


def test_a_directory_of_a_newer_format_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(RocksStore(tmp_path / "data")) as store:
        newer = Batch()
        version = store_format.FORMAT_VERSION + 1
        newer.put(keys.format_key(), version.to_bytes(4) + SHARD_COUNT.to_bytes(4))
        store.write(newer, store.epoch)

    assert start(tmp_path) == 1
    assert f"has format version {version}" in said(capfd)


def test_a_directory_that_cannot_be_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file")

    assert start(tmp_path) == 1
    assert "cannot use the data directory" in said(capfd)


@pytest.mark.parametrize("flag", ["--grpc", "--admin"])
def test_a_port_in_use_is_named_and_nothing_is_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], busy: int, flag: str
) -> None:
    assert start(tmp_path, flag, f"127.0.0.1:{busy}") == 1

    assert said(capfd) == (
        f"error: {flag}: cannot listen on 127.0.0.1:{busy}: the port is in use by another process"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("address", ["203.0.113.1:0", "no-such-host.invalid:0"])
def test_an_address_of_another_machine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], address: str
) -> None:
    assert start(tmp_path, "--insecure", "--grpc", address) == 1
    assert f"cannot listen on {address}" in said(capfd)


async def test_the_default_admin_port_is_done_without_when_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stack:
        # Whoever has it: this test, or another process of this machine.
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 6432)))
        config = load({}, data=tmp_path / "data", grpc=f"127.0.0.1:{free_port()}")
        server = Server(registry, config)
        with caplog.at_level(logging.WARNING):
            await server.start()

        assert server.port
        assert not server.admin_port
        assert "no admin server, as 127.0.0.1:6432 cannot be used" in caplog.text
        await server.stop()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "message"),
    [
        ("none.pem", "server.key", "", "--tls-cert: cannot read"),
        ("server.pem", "none.key", "", "--tls-key: cannot read"),
        ("server.pem", "ada.key", "", "KEY_VALUES_MISMATCH"),
        ("make.sh", "server.key", "", "are no certificate with its key in PEM"),
        ("server.pem", "encrypted.key", "", "the key is encrypted"),
        ("server.pem", "server.key", "none.pem", "--tls-client-ca: cannot read"),
        ("server.pem", "server.key", "server.key", "holds no certificates in PEM"),
    ],
)
def test_tls_files_are_checked_before_the_first_handshake(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    cert: str,
    key: str,
    ca: str,
    message: str,
) -> None:
    flags = ["--tls-cert", str(TLS / cert), "--tls-key", str(TLS / key)]
    flags += ["--tls-client-ca", str(TLS / ca)] if ca else []

    assert start(tmp_path, *flags) == 2
    assert message in said(capfd)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no token"),
        (b"# nothing\n\n", "holds no token"),
        (b"a b c\n", "line 1: more than a caller and a token"),
        (b"ok\nca(ller token\n", "line 2: a caller is"),
        (b"\xff\xfe", "is not ASCII text"),
    ],
)
def test_a_token_file_is_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "tokens").write_bytes(content)

    assert start(tmp_path, "--token-file", str(tmp_path / "tokens")) == 2
    assert message in said(capfd)


async def test_a_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    port = free_port()
    # The same address in two spellings, so that it is seen only when gRPC binds it.
    addresses = {"grpc": f"127.0.0.1:{port}", "admin": f"127.1:{port}", "insecure": True}
    server = Server(registry, load({}, data=tmp_path / "data", **addresses))

    with pytest.raises(StartError, match="cannot listen"):
        await server.start()

    RocksStore(tmp_path / "data").close()
    socket.create_server(("127.0.0.1", port)).close()


def test_the_loop_is_chosen() -> None:
    import uvloop

    assert loop_factory("asyncio") is asyncio.new_event_loop
    assert loop_factory("uvloop") is uvloop.new_event_loop
    auto = uvloop.new_event_loop if sys.platform == "linux" else asyncio.new_event_loop
    assert loop_factory("auto") is auto


def test_a_loop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    assert loop_factory("auto") is asyncio.new_event_loop
    with pytest.raises(settings.ConfigError, match="uvloop is not installed"):
        loop_factory("uvloop")


async def test_python_app_py_serves_with_the_settings_of_its_setup(tmp_path: Path) -> None:
    source = COUNTER.replace(
        'setup(use={"counter": Counter})',
        'setup(use={"counter": Counter}, grpc="127.0.0.1:0", admin="off", data="mine")',
    )
    (tmp_path / "app.py").write_text(
        source + '\nif __name__ == "__main__":\n    registry.serve(loop="asyncio")\n'
    )
    with Process(["app.py"], tmp_path, HOLDFAST_LOG_LEVEL="warning") as server:
        line = server.wait_for("serves gRPC on")
        port = line.split(",")[0].rpartition(":")[2]
        async with Client(f"127.0.0.1:{port}") as client:
            assert await client.get_or_create("counter", "a").action("increment", 2) == 2
        server.signal(signal.SIGINT)

        assert await asyncio.to_thread(server.wait) == 0
    assert (tmp_path / "mine" / "rocks").is_dir()
    assert "loop                     asyncio" in server.output
    assert "INFO" not in server.output


def test_registry_serve_explains_itself_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(COUNTER + "\nregistry.serve(mailbox_max=0)\n")

    with Process(["app.py"], tmp_path) as server:
        assert server.wait() == 2

    assert server.output == "error: setup(mailbox_max=...): 0 must be at least 1\n"


def test_a_directory_is_verified_unless_a_server_has_it_open(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    with contextlib.closing(RocksStore(tmp_path / "data")):
        assert main(["verify"]) == 1
        assert "is in use by process" in said(capfd)

    assert main(["verify"]) == 0
    assert capfd.readouterr().out == "0 findings\n"
    assert main(["verify", "--data", str(tmp_path / "none")]) == 1
    assert "holds no store" in capfd.readouterr().out


async def test_a_server_opens_again_at_once_after_a_drain(tmp_path: Path) -> None:
    for expected in (1, 2):
        with ServerProcess(tmp_path) as server:
            async with Client(server.address) as client:
                assert await client.get_or_create("counter", "a").action("increment") == expected
            assert await asyncio.to_thread(server.stop) == 0
