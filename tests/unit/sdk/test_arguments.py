"""What a client is given is checked when it gets it, with an error that names the remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client, HoldfastError, TlsConfig, blocking
from holdfast._address import check_address
from holdfast._channel import open_channel
from tests.unit.sdk.fake_server import running


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:6430",
        "localhost:1",
        "holdfast.example.com:65535",
        "my_host-1:6430",
        "[::1]:6430",
        "[fe80::1%eth0]:6430",
        "unix:/run/holdfast.sock",
        "unix:holdfast.sock",
        "unix-abstract:holdfast",
        "dns:///holdfast.example.com:6430",
        "ipv4:10.0.0.1:6430,10.0.0.2:6430",
        "ipv6:[::1]:6430",
    ],
)
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("", "expected 'host:port'"),
        ("localhost", "add the port, 'localhost:6430'"),
        ("localhost:", "expected 'host:port'"),
        (":6430", "expected 'host:port'"),
        ("local host:6430", "expected 'host:port'"),
        ("localhost:6430 ", "expected 'host:port'"),
        ("localhost:http", "expected 'host:port'"),
        ("localhost:0", "from 1 to 65535"),
        ("localhost:65536", "from 1 to 65535"),
        ("localhost:-1", "expected 'host:port'"),
        ("::1", "in brackets, '[::1]:6430'"),
        ("::1:6430", "in brackets"),
        ("[::1]", "expected 'host:port'"),
        ("http://127.0.0.1:6430", "host and port only: '127.0.0.1:6430'"),
        ("https://example.com:6430/", "host and port only, with tls=True: 'example.com:6430'"),
        ("grpcs://example.com:6430", "with tls=True"),
        ("unix:", "nothing follows the scheme"),
        ("dns:///", "nothing follows the scheme"),
    ],
)
@pytest.mark.parametrize("kind", [Client, blocking.Client])
def test_bad_addresses(kind: Any, address: str, remedy: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind(address)
    assert repr(address) in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeout": 0}, ValueError, "positive number of seconds, not 0"),
        ({"timeout": -1.5}, ValueError, "positive"),
        ({"timeout": math.nan}, ValueError, "positive"),
        ({"timeout": "5"}, TypeError, "number of seconds, not str"),
        ({"timeout": True}, TypeError, "not bool"),
        ({"encoding": "bson"}, ValueError, "unknown encoding 'bson': one of json, msgpack"),
        ({"encoding": 9}, ValueError, "unknown encoding 9"),
        ({"token": "a\nb"}, ValueError, "printable ASCII"),
        ({"token": "é"}, ValueError, "printable ASCII"),
        ({"tls": "yes"}, TypeError, "TlsConfig, not str"),
    ],
)
@pytest.mark.parametrize("kind", [Client, blocking.Client])
def test_bad_options(
    kind: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind("127.0.0.1:6430", **options)


def test_an_address_is_text() -> None:
    with pytest.raises(TypeError, match="an address is a string, not int"):
        Client(6430)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeout": 0}, ValueError, "positive"),
        ({"encoding": "xml"}, ValueError, "unknown encoding"),
        # On the wire an empty key is none, and a retry could run the call twice.
        ({"idempotency_key": ""}, ValueError, "at least one character"),
        ({"idempotency_key": b"k"}, TypeError, "a string, not bytes"),
    ],
)
async def test_bad_options_of_a_call(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with running() as (server, client):
        with pytest.raises(error, match=message):
            client.get("geometry", "one").with_options(**options)
        if "encoding" not in options:
            with pytest.raises(error, match=message):
                await client.create("geometry", "one", **options)
            with pytest.raises(error, match=message):
                await client.destroy("geometry", "one", **options)
        assert server.requests == []


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ([1], TypeError, "a key is made of strings, not int"),
        (5, TypeError, "a key is a string or strings, not int"),
        (None, TypeError, "not NoneType"),
        (b"key", TypeError, "not bytes"),
        (["\ud800"], ValueError, "UTF-8"),
        ("\ud800", ValueError, "surrogates not allowed"),
    ],
)
async def test_bad_keys(key: Any, error: type[Exception], message: str) -> None:
    async with running() as (_, client):
        for find in (client.get, client.get_or_create):
            with pytest.raises(error, match=message):
                find("geometry", key)


async def test_what_is_no_actor() -> None:
    async with running() as (_, client):
        for wrong in (None, 3, object()):
            with pytest.raises(TypeError, match="an actor is a class or its name"):
                client.get(wrong, "a")  # type: ignore[call-overload]
        with pytest.raises(HoldfastError, match="str has no name here"):
            client.get(str, "a")  # type: ignore[type-var]


async def test_destroy_takes_one_way_of_naming_an_actor() -> None:
    async with running() as (_, client):
        for wrong in (("geometry",), (client.get("geometry", "a"), ["a"])):
            with pytest.raises(TypeError, match="destroy takes a handle, or a class or name"):
                await client.destroy(*wrong)


async def test_an_endless_timeout_is_no_deadline() -> None:
    async with running(timeout=math.inf) as (_, client):
        assert await client.get("geometry", "a").nothing() is None
    async with running() as (_, client):
        assert await client.get("geometry", "a").with_options(timeout=math.inf).nothing() is None


async def test_an_empty_token_is_none() -> None:
    async with running(token="") as (server, client):
        await client.get("geometry", "a").nothing()
        assert "authorization" not in server.metadata[0]


def test_tls_certificate_and_key_go_together() -> None:
    for half in ({"certificate": b""}, {"key": "key.pem"}):
        with pytest.raises(ValueError, match="go together"):
            TlsConfig(**half)


async def test_tls_files_are_read_with_care(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match=r"TlsConfig: ca: .*absent\.pem"):
        open_channel("127.0.0.1:1", TlsConfig(ca=tmp_path / "absent.pem"))
    (tmp_path / "not.pem").write_text("hello")
    with pytest.raises(HoldfastError, match="TlsConfig: ca is not PEM"):
        open_channel("127.0.0.1:1", TlsConfig(ca=str(tmp_path / "not.pem")))
