"""Bearer tokens: what is accepted, and which caller a token stands for.

A list of tokens is text, one a line: `TOKEN` or `CALLER TOKEN`, and behind it what narrows
it: `role=read|call|admin` (admin when absent), `namespaces=a,b` (all when absent) and
`expires=2027-01-01` (never when absent). In place of a token may stand its digest,
`sha256:HEX`. Blank lines and lines that begin with # do not count. Stored replies are
scoped to a caller: a named caller keeps them while its tokens change, an unnamed one is its
token. A token that is on no list may be a JWT.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from holdfast_server.core.auth import ROLES, Identity, Role, Source, caller_id
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import check_name

TOKENS_MAX: Final = 64
TOKEN_BYTES_MAX: Final = 4096
# JWTs whose signature need not be checked again, and digests that are not named.
_KNOWN_MAX: Final = 4096

# What RFC 6750 allows in a bearer token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")
_SCHEME: Final = "bearer "
_CALLER: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}\Z")
_HASHED: Final = "sha256:"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
# No token: those have = at their end only.
_OPTION: Final = re.compile(r"([a-z]+)=([^=].*)\Z")

Verify = Callable[[str], Identity | None]


class TokenError(ValueError):
    """A list of tokens is malformed; the message never holds a token."""


class Token(NamedTuple):
    """The digest of an accepted token, and whom it stands for; `named` is False for a digest
    of the list that no caller is given for: its token, once shown, is its caller."""

    digest: bytes
    identity: Identity
    named: bool = True


def bearer(header: str) -> str | None:
    """The token in an `authorization` header; None when it holds something else."""
    return header[len(_SCHEME) :] if header[: len(_SCHEME)].lower() == _SCHEME else None


def parse_tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a list; none when it is empty."""
    found: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.append(_parse_line(words))
        except TokenError as error:
            raise TokenError(f"line {number}: {error}") from None
    if len(found) > TOKENS_MAX:
        raise TokenError(f"{len(found)} tokens; at most {TOKENS_MAX}")
    return tuple(found)


def _parse_line(words: list[str]) -> Token:
    options = [match for word in words if (match := _OPTION.match(word))]
    plain = words[: len(words) - len(options)]
    if any(_OPTION.match(word) for word in plain):
        raise TokenError("role=, namespaces= and expires= stand behind the token")
    if not 1 <= len(plain) <= 2:
        raise TokenError("more than a caller and a token" if plain else "no token")
    token, name = plain[-1], plain[0] if len(plain) == 2 else ""
    if name and not _CALLER.match(name):
        raise TokenError("a caller is 1 to 64 letters, digits and -._@")
    narrowed = _narrowed([(match[1], match[2]) for match in options])
    caller = caller_id("name", name.encode("ascii"))
    if token.startswith(_HASHED):
        if not _DIGEST.match(token[len(_HASHED) :]):
            raise TokenError("behind sha256: come 64 hexadecimal digits")
        digest = bytes.fromhex(token[len(_HASHED) :])
    else:
        if not _TOKEN.match(token) or len(token) > TOKEN_BYTES_MAX:
            raise TokenError(f"a token is 1 to {TOKEN_BYTES_MAX} letters, digits and -._~+/")
        digest = digest_of(token)
        if not name:
            caller = _unnamed(token)
    identity = Identity(caller=caller, name=name, source=Source.TOKEN, **narrowed)
    return Token(digest, identity, bool(name) or not token.startswith(_HASHED))


def _narrowed(options: list[tuple[str, str]]) -> dict[str, Any]:
    """What the options of a line say of its identity."""
    found: dict[str, Any] = {}
    for option, value in options:
        if option == "role":
            if value not in ROLES:
                raise TokenError(f"role= is one of {', '.join(ROLES)}")
            found["role"] = min(ROLES[value], found.get("role", Role.ADMIN))
        elif option == "namespaces":
            # Given again they are more, as a comma ends an entry in a variable.
            found["namespaces"] = found.get("namespaces", frozenset()) | _namespaces(value)
        elif option == "expires":
            found["expires_at_s"] = _moment(value)
        else:
            raise TokenError("only role=, namespaces= and expires= stand behind a token")
    return found


def _namespaces(value: str) -> frozenset[str]:
    names = frozenset(value.split(","))
    for name in names:
        try:
            check_name(name, "namespaces=")
        except HoldfastError as error:
            raise TokenError(error.message) from None
    return names


def _moment(value: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TokenError("expires= is like 2027-01-01 or 2027-01-01T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


class Tokens:
    """The tokens accepted now; empty when none is needed. `now` is the time since 1970 in
    seconds; `verify` tells whom a JWT stands for, None where none are taken."""

    __slots__ = ("_accepted", "_known", "_now", "_verify", "_watchers")

    def __init__(
        self,
        accepted: tuple[Token, ...] = (),
        *,
        now: Callable[[], float],
        verify: Verify | None = None,
    ) -> None:
        self._accepted = accepted
        self._now = now
        self._verify = verify
        # By the digest of the JWT, the oldest first.
        self._known: dict[bytes, Identity] = {}
        self._watchers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._accepted)

    def replace(self, accepted: tuple[Token, ...], verify: Verify | None = None) -> None:
        """Accept these from now on, and no others."""
        self._accepted, self._verify = accepted, verify
        self._known.clear()
        for tell in self._watchers:
            tell()

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever other tokens are accepted."""
        self._watchers.append(tell)

    def left_s(self, identity: Identity) -> float | None:
        """Seconds until an identity expires, 0 at the least; None when it does not."""
        until = identity.expires_at_s
        return None if until is None else max(0.0, until - self._now())

    def identify(self, token: str) -> Identity | None:
        """Who shows this token; None when it is not accepted.

        Every accepted token is compared, each in constant time, so that the time
        it takes says nothing of them.
        """
        if len(token) > TOKEN_BYTES_MAX:
            return None
        digest = digest_of(token)
        found: Token | None = None
        for accepted in self._accepted:
            if hmac.compare_digest(accepted.digest, digest):
                found = accepted
        if found is None:
            identity = self._verified(digest, token)
        elif found.named:
            identity = found.identity
        else:
            identity = self._known.get(digest)
            if identity is None:
                identity = replace(found.identity, caller=_unnamed(token))
                self._keep(digest, identity)
        if identity is None or self.left_s(identity) == 0.0:
            return None
        return identity

    def _verified(self, digest: bytes, token: str) -> Identity | None:
        known = self._known.get(digest)
        if known is not None or self._verify is None:
            return known
        identity = self._verify(token)
        if identity is not None:
            self._keep(digest, identity)
        return identity

    def _keep(self, digest: bytes, identity: Identity) -> None:
        if len(self._known) >= _KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = identity


def digest_of(token: str) -> bytes:
    """What a list may hold in place of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _unnamed(token: str) -> bytes:
    return caller_id("token", token.encode("utf-8", "surrogateescape"))
