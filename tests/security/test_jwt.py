"""JWTs: which are accepted, whom they stand for, and what ends with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast import ActorError, Client
from holdfast.v1 import session_service_pb2 as session_pb
from holdfast_server.config import ConfigError, load
from holdfast_server.core.auth import Identity
from holdfast_server.process.jwt import read_verifier
from tests.security.actors import Witness
from tests.security.conftest import AUDIENCE, ISSUER, Place
from tests.server.session import call, opened, value_of
from tests.server.wire import target

NOW = 1_000_000_000.0
EC, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA = rsa.generate_private_key(65537, 2048)
SECRET = "s" * 40
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": NOW + 60}


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    is_rsa = isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey)
    kind: Any = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    said: dict[str, Any] = kind.to_jwk(key, as_dict=True)
    return {**said, **more}


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


Verifier = Callable[[str], Identity | None]


@pytest.fixture
def verifier(tmp_path: Path) -> Callable[..., Verifier]:
    """Makes a verifier of a file of keys, whose clock stands at NOW."""

    def make(keys: bytes | str | dict[str, Any], **settings: Any) -> Verifier:
        if isinstance(keys, dict):
            keys = json.dumps(keys)
        file = tmp_path / "keys"
        file.write_bytes(keys.encode() if isinstance(keys, str) else keys)
        said = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **settings}
        config = load({}, jwt_keys=str(file), **said)
        return read_verifier(config, lambda: NOW)

    return make


def signed(key: Any = EC, algorithm: str = "ES256", headers: Any = None, **claims: Any) -> str:
    said = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers=headers)


def test_a_good_one_names_its_caller(verifier: Callable[..., Verifier]) -> None:
    ada = verifier(pem(EC))(signed(holdfast_role="admin", holdfast_namespaces=["a", "b"]))

    assert ada is not None
    assert (ada.name, ada.source.value, ada.role.word) == ("ada", "jwt", "admin")
    assert ada.namespaces == {"a", "b"}
    assert ada.expires_at_s == NOW + 90
    again = verifier(pem(EC))(signed(exp=NOW + 5, jti="another"))
    assert again is not None
    assert again.caller == ada.caller
    bob = verifier(pem(EC))(signed(sub="bob"))
    assert bob is not None
    assert bob.caller != ada.caller


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": ISSUER + "/"},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 513},
        {"exp": None},
        {"exp": NOW - 31},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e400},
        {"nbf": NOW + 31},
        {"nbf": "soon"},
        {"holdfast_role": 3},
        {"holdfast_role": {"admin": True}},
        {"holdfast_namespaces": 3},
        {"holdfast_namespaces": {"a": 1}},
    ],
    ids=str,
)
def test_claims_that_are_not_accepted(
    verifier: Callable[..., Verifier], claims: dict[str, Any]
) -> None:
    assert verifier(pem(EC))(signed(**claims)) is None


@pytest.mark.parametrize("claims", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"aud": ["x", AUDIENCE]}])
def test_clocks_may_differ_by_the_leeway(
    verifier: Callable[..., Verifier], claims: dict[str, Any]
) -> None:
    assert verifier(pem(EC))(signed(**claims)) is not None
    if "aud" not in claims:
        assert verifier(pem(EC), jwt_leeway_s=0)(signed(**claims)) is None


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        (None, "read"),
        ("call", "call"),
        (["read", "other", 4, "admin"], "admin"),
        ("root", "none"),
        ([], "none"),
        ("", "none"),
    ],
)
def test_roles_of_a_claim(verifier: Callable[..., Verifier], claim: Any, role: str) -> None:
    ada = verifier(pem(EC), jwt_role_claim="r", jwt_default_role="read")(signed(r=claim))

    assert ada is not None
    assert ada.role.word == role


@pytest.mark.parametrize(
    ("claim", "names"),
    [(None, ["default"]), ("a b", ["a", "b"]), (["a", 3], ["a"]), ([], []), ("", []), ("*", None)],
)
def test_namespaces_of_a_claim(
    verifier: Callable[..., Verifier], claim: Any, names: list[str] | None
) -> None:
    ada = verifier(pem(EC), jwt_namespaces_claim="n")(signed(n=claim))

    assert ada is not None
    assert ada.namespaces == (None if names is None else set(names))


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused(key: Any) -> str:
    """Signed by HMAC under the public key, as text that an attacker has."""
    plain = forged({"alg": "HS256", "typ": "JWT"}, GOOD)[:-1]
    return forged(
        {"alg": "HS256", "typ": "JWT"}, GOOD, hmac.digest(pem(key), plain.encode(), hashlib.sha256)
    )


@pytest.mark.parametrize("key", [EC, RSA], ids=["ec", "rsa"])
def test_forgeries(verifier: Callable[..., Verifier], key: Any) -> None:
    algorithm = "ES256" if key is EC else "RS256"
    verify = verifier(pem(key))
    head, body, signature = signed(key, algorithm).split(".")
    assert verify(f"{head}.{body}.{signature}") is not None

    for token in (
        forged({"alg": "none"}, GOOD),
        forged({"alg": "None"}, GOOD),
        forged({"alg": ""}, GOOD),
        forged({"alg": None}, GOOD),
        forged({"alg": ["ES256"]}, GOOD),
        forged({}, GOOD),
        confused(key),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{forged({}, {**GOOD, 'sub': 'root'}).split('.')[1]}.{signature}",
        signed(OTHER),
        signed(SECRET, "HS256"),
        signed(key, algorithm, headers={"crit": ["exp"]}),
        # A key of its own, and where to find it: neither is looked at.
        signed(OTHER, headers={"jwk": jwk(OTHER.public_key()), "jku": "https://evil.example"}),
        "a.b.c",
        "..",
        "",
        "é.é.é",
        "[" * 4000,
    ):
        assert verify(token) is None, token


def test_an_algorithm_has_to_be_allowed(verifier: Callable[..., Verifier]) -> None:
    assert verifier(pem(RSA))(signed(RSA, "PS256")) is None
    assert verifier(pem(RSA), jwt_algorithms="PS256")(signed(RSA, "PS256")) is not None
    assert verifier(pem(RSA), jwt_algorithms="PS256")(signed(RSA, "RS256")) is None


def test_keys_of_a_jwks(verifier: Callable[..., Verifier]) -> None:
    keys = [
        jwk(EC.public_key(), kid="one"),
        jwk(RSA.public_key(), kid="two", alg="RS512"),
        jwk(OTHER.public_key(), kid="three", use="enc"),
    ]
    verify = verifier({"keys": keys}, jwt_algorithms="ES256,RS256,RS512")

    assert verify(signed(headers={"kid": "one"})) is not None
    assert verify(signed()) is not None
    assert verify(signed(headers={"kid": "two"})) is None
    assert verify(signed(RSA, "RS512", headers={"kid": "two"})) is not None
    assert verify(signed(RSA, "RS256", headers={"kid": "two"})) is None
    assert verify(signed(OTHER, headers={"kid": "three"})) is None


def test_a_secret(verifier: Callable[..., Verifier]) -> None:
    verify = verifier(f"{SECRET}\n", jwt_algorithms="HS256")

    assert verify(signed(SECRET, "HS256")) is not None
    assert verify(signed("t" * 40, "HS256")) is None


@pytest.mark.parametrize(
    ("keys", "settings", "message"),
    [
        ("short", {"jwt_algorithms": "HS256"}, "at least 32 bytes"),
        (SECRET, {}, "holds no key for ES256, EdDSA, RS256"),
        (pem(EC), {"jwt_algorithms": "HS256"}, "holds no key for HS256"),
        (pem(EC), {"jwt_algorithms": "HS256,ES256"}, "mixes secrets"),
        (pem(EC), {"jwt_algorithms": "none"}, "none of its algorithms"),
        (pem(rsa.generate_private_key(65537, 1024)), {}, "has 1024 bits"),
        ({"keys": [jwk(EC)]}, {}, "private key"),
        ({"keys": [jwk(RSA)]}, {}, "private key"),
        ({"keys": []}, {}, "holds no key"),
        ({"kes": []}, {}, "malformed"),
        ("-----BEGIN PUBLIC KEY-----\nx", {}, "malformed"),
        (pem(EC), {"jwt_issuer": ""}, "--jwt-issuer is missing"),
        (pem(EC), {"jwt_audience": ""}, "--jwt-audience is missing"),
    ],
)
def test_keys_that_are_refused(
    verifier: Callable[..., Verifier], keys: Any, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        verifier(keys, **settings)


# Over the wire


async def test_a_role_and_a_namespace_that_it_lacks(place: Place) -> None:
    address = f"127.0.0.1:{place.server.port}"
    for claims, code in (
        ({"holdfast_role": "read"}, "forbidden"),
        ({"holdfast_role": "root"}, "forbidden"),
        ({"holdfast_namespaces": "a"}, "forbidden"),
        ({"aud": "other"}, "unauthenticated"),
        ({"exp": time.time() - 1}, "unauthenticated"),
    ):
        async with Client(address, token=place.sign(**claims), session=False, timeout=10) as client:
            with pytest.raises(ActorError) as caught:
                await client.get_or_create(Witness, ["a"]).who()
            assert caught.value.code == code, claims


async def test_a_key_of_a_call_belongs_to_its_subject_through_renewals(place: Place) -> None:
    address, answers = f"127.0.0.1:{place.server.port}", []
    for number, subject in enumerate(("ada", "ada", "bob")):
        token = place.sign(sub=subject, jti=str(number))
        async with Client(address, token=token, timeout=10) as client:
            witness = client.get_or_create(Witness, ["a"]).with_options(idempotency_key="k")
            answers.append(await witness.who())
    assert [who[1] for who in answers] == ["ada", "ada", "bob"]


async def test_a_session_ends_with_its_token_and_goes_on_with_the_next(place: Place) -> None:
    short = place.sign(exp=time.time() + 0.4)
    async with opened(place.server, token=short) as session:
        session.send(call(1, target("witness", "a"), "who"))
        assert value_of(await session.answer(1))[1] == "ada"
        resume = session.welcome.resume_token
        failure = await session.failure()
        assert failure.status == "UNAUTHENTICATED"
        assert short not in failure.message
    async with opened(place.server, token=place.sign(), resume_token=resume) as session:
        session.send(call(1, target("witness", "a"), "who"))
        assert value_of(await session.answer(1))[1] == "ada"
    async with opened(place.server, token=place.sign(sub="bob"), resume_token=resume) as session:
        assert not session.welcome.resumed


async def test_a_session_is_renewed_while_it_is_open(place: Place) -> None:
    def renewal(token: str) -> session_pb.SessionCommand:
        return session_pb.SessionCommand(token=session_pb.SessionToken(token=token))

    until = time.time() + 0.6
    async with opened(place.server, token=place.sign(exp=until)) as session:
        session.send(renewal(place.sign(holdfast_role="read")))
        session.send(call(1, target("witness", "a"), "who"))
        assert (await session.answer(1)).WhichOneof("answer") == "end"
        session.send(renewal(place.sign()))
        number = 3
        while time.time() < until + 0.1:
            session.send(call(number, target("witness", "a"), "who"))
            assert value_of(await session.answer(number))[1] == "ada"
            number += 2
        session.send(renewal(place.sign(sub="bob")))
        assert (await session.failure()).status == "UNAUTHENTICATED"


async def test_a_stream_beside_a_session_ends_with_its_token(place: Place) -> None:
    token = place.sign(exp=time.time() + 0.5)
    async with Client(
        f"127.0.0.1:{place.server.port}", token=token, session=False, timeout=10
    ) as client:
        with pytest.raises(ActorError) as caught:
            async for _ in client.get_or_create(Witness, ["a"]).stream(True):
                pass
        assert caught.value.code == "unauthenticated"


async def test_keys_are_read_again_on_sighup(place: Place) -> None:
    before = place.sign()
    address = f"127.0.0.1:{place.server.port}"
    async with opened(place.server, token=before) as session:
        place.use(ec.generate_private_key(ec.SECP256R1()))
        place.server.security.reload()
        assert (await session.failure()).status == "UNAUTHENTICATED"
    async with Client(address, token=place.sign(), timeout=10) as client:
        assert (await client.get_or_create(Witness, ["a"]).who())[1] == "ada"
    place.keys.write_text("nonsense")
    place.server.security.reload()
    async with Client(address, token=place.sign(), timeout=10) as client:
        assert (await client.get_or_create(Witness, ["a"]).who())[1] == "ada"
