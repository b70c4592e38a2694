"""A server whose callers are checked, and the files that say how."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.memory import MemoryStore
from tests.security.actors import registry

TOKENS = """
root    root-token
reader  reader-token  role=read
caller  caller-token  role=call
a-only  a-token       role=call namespaces=a
a-admin a-admin-token namespaces=a
old     old-token     expires=2020-01-01
"""
ISSUER, AUDIENCE = "https://issuer.example", "holdfast"


class Place:
    """A server, its list of tokens, and whoever signs its JWTs."""

    def __init__(self, path: Path) -> None:
        self.tokens = path / "tokens"
        self.keys = path / "keys.pem"
        self.tokens.write_text(TOKENS)
        self.use(ec.generate_private_key(ec.SECP256R1()))
        self.server: Server

    def use(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        """Sign by another key, whose public part is in the file from now on."""
        self.key = key
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.keys.write_bytes(self.public)

    def accept(self, text: str) -> None:
        """Have another list of tokens."""
        self.tokens.write_text(text)
        self.server.security.reload()

    def sign(self, *, algorithm: str = "ES256", key: Any = None, **claims: Any) -> str:
        """A JWT of ada, good for a minute; a claim that is None is left out."""
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or self.key, algorithm=algorithm)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    settings: dict[str, Any] = {
        "data": str(tmp_path / "data"),
        "grpc": "127.0.0.1:0",
        "namespaces": "default,a,b",
        "token_file": str(place.tokens),
        "jwt_keys": str(place.keys),
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_leeway_s": 0,
        "drain_timeout_s": 0.5,
    }
    place.server = Server(registry, load({}, **settings), MemoryStore())
    await place.server.start()
    yield place
    await place.server.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
