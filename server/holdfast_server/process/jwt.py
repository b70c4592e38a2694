"""JWTs: the keys, and whom a token stands for.

Keys come from a file: a JWKS, public keys or certificates in PEM, or one secret. Which
algorithms a key may verify follows from the key, never from the token, and secrets never
stand beside public keys: so that a public key is never taken for a secret. The signature, the
issuer and the audience are PyJWT's to check; times are checked by the server's own clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from holdfast_server.config import Config
from holdfast_server.core.auth import ROLES, Identity, Role, Source, caller_id
from holdfast_server.core.jwt_algorithms import SECRETS
from holdfast_server.settings import ConfigError

_FLAG: Final = "--jwt-keys"
_KEYS_MAX: Final = 64
_RSA_BITS: Final = 2048
_SECRET_BYTES: Final = 32
_NAME_MAX: Final = 512
_NAMESPACES_MAX: Final = 1024
_OF_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_OF_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_PEM: Final = b"-----BEGIN "
# What only its owner has of a key.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class Key(NamedTuple):
    """A key, what it may verify, and its id in a JWKS."""

    key: Any
    algorithms: frozenset[str]
    kid: str | None = None


class Verifier:
    """Tells whom a JWT stands for."""

    def __init__(self, config: Config, keys: list[Key], now: Callable[[], float]) -> None:
        self._config = config
        self._keys = keys
        self._now = now

    def __call__(self, token: str) -> Identity | None:
        """Its identity; None for whatever is no JWT that this server accepts."""
        try:
            claims = self._claims(token)
            return None if claims is None else self._identity(claims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None

    def _claims(self, token: str) -> Mapping[str, Any] | None:
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if "crit" in header or algorithm not in self._config.jwt_algorithms:
            # What a token calls critical has to be understood, and none of it is.
            return None
        for key in self._keys:
            if algorithm not in key.algorithms:
                continue
            if kid is not None and key.kid is not None and kid != key.kid:
                continue
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key.key,
                    algorithms=[algorithm],
                    issuer=self._config.jwt_issuer,
                    audience=self._config.jwt_audience,
                    options={
                        "require": ["iss", "aud", "sub", "exp"],
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            return claims
        return None

    def _identity(self, claims: Mapping[str, Any]) -> Identity | None:
        config = self._config
        leeway_s, now = config.jwt_leeway_s, self._now()
        until = _time(claims["exp"]) + leeway_s
        if until <= now or _time(claims.get("nbf", 0)) - leeway_s > now:
            return None
        issuer, subject = str(claims["iss"]), claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _NAME_MAX:
            return None
        return Identity(
            caller=caller_id("jwt", issuer.encode(), subject.encode("utf-8", "surrogatepass")),
            name=subject,
            source=Source.JWT,
            role=_role(claims.get(config.jwt_role_claim), config.jwt_default_role),
            namespaces=_namespaces(
                claims.get(config.jwt_namespaces_claim), config.jwt_default_namespaces
            ),
            claims=claims,
            expires_at_s=until,
        )


def read_verifier(config: Config, now: Callable[[], float]) -> Verifier:
    """The verifier of the settings' keys; ConfigError when the file has no usable one."""
    try:
        data = Path(config.jwt_keys).read_bytes()
    except OSError as error:
        raise ConfigError(f"{_FLAG}: cannot read {config.jwt_keys}: {error.strerror}") from None
    try:
        keys = _keys(data)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        # Of a malformed key no part is shown; ours say what is wrong, and hold none.
        why = error if isinstance(error, _BadKey) else "a key is malformed"
        raise ConfigError(f"{_FLAG}: {config.jwt_keys}: {why}") from None
    usable = [key for key in keys if key.algorithms & config.jwt_algorithms]
    if not usable:
        allowed = ", ".join(sorted(config.jwt_algorithms))
        raise ConfigError(f"{_FLAG}: {config.jwt_keys} holds no key for {allowed}")
    if len(usable) > _KEYS_MAX:
        raise ConfigError(f"{_FLAG}: {len(usable)} keys; at most {_KEYS_MAX}")
    return Verifier(config, usable, now)


class _BadKey(ValueError):
    """A key that this server does not take; the message holds nothing of it."""


def _keys(data: bytes) -> list[Key]:
    text = data.strip()
    if text.startswith(b"{"):
        found = json.loads(text)
        return [key for each in found["keys"] if (key := _of_jwks(each)) is not None]
    if text.startswith(_PEM):
        return [_of_pem(_PEM + part) for part in text.split(_PEM) if part.strip()]
    if len(text) < _SECRET_BYTES:
        raise _BadKey(f"a secret has at least {_SECRET_BYTES} bytes")
    return [Key(text, SECRETS)]


def _of_jwks(said: Mapping[str, Any]) -> Key | None:
    if said.get("use", "sig") != "sig":
        return None
    if _PRIVATE & said.keys():
        raise _BadKey("it holds a private key; a server needs public ones")
    if said["kty"] == "oct":
        key = jwt.PyJWK(dict(said), algorithm="HS256").key
        if len(key) < _SECRET_BYTES:
            raise _BadKey(f"a secret has at least {_SECRET_BYTES} bytes")
        able = SECRETS
    else:
        guess = {"RSA": "RS256"}.get(said["kty"])
        key = jwt.PyJWK(dict(said), algorithm=guess).key
        able = _able(key)
    named = said.get("alg")
    return Key(key, able & {named} if named is not None else able, said.get("kid"))


def _of_pem(data: bytes) -> Key:
    if data.startswith(_PEM + b"CERTIFICATE"):
        key: Any = x509.load_pem_x509_certificate(data).public_key()
    elif b"PRIVATE KEY" in data.split(b"\n", 1)[0]:
        raise _BadKey("it holds a private key; a server needs public ones")
    else:
        key = load_pem_public_key(data)
    return Key(key, _able(key))


def _able(key: Any) -> frozenset[str]:
    """The algorithms of a public key."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS:
            raise _BadKey(f"an RSA key has {key.key_size} bits; at least {_RSA_BITS}")
        return _OF_RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        return frozenset({_OF_CURVE.get(key.curve.name, "")})
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return frozenset({"EdDSA"})
    raise _BadKey("it holds a key that signs no JWT")


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no time")
    return float(value)


def _role(claim: Any, default: str) -> Role:
    """The role of a claim: a word, or a list of which the highest that is a role counts."""
    if claim is None:
        return ROLES.get(default, Role.NONE)
    words = [claim] if isinstance(claim, str) else claim
    if not isinstance(words, list):
        raise ValueError("no role")
    return max(
        (ROLES[word] for word in words if isinstance(word, str) and word in ROLES),
        default=Role.NONE,
    )


def _namespaces(claim: Any, default: frozenset[str]) -> frozenset[str] | None:
    """The namespaces of a claim: a word, or a list; "*" is all of them."""
    if claim is None:
        found = default
    elif isinstance(claim, str):
        found = frozenset(claim.split())
    elif isinstance(claim, list) and len(claim) <= _NAMESPACES_MAX:
        found = frozenset(each for each in claim if isinstance(each, str))
    else:
        raise ValueError("no namespaces")
    return None if "*" in found else found
