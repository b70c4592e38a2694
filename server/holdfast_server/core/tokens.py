"""Bearer tokens: what is accepted, and which caller a token stands for.

A list of tokens is text, one a line, `TOKEN` or `CALLER TOKEN`; blank lines and
lines that begin with # do not count. Stored replies are scoped to a caller: a
named caller keeps them while its tokens change, an unnamed one is its token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final, NamedTuple

TOKENS_MAX: Final = 64
TOKEN_BYTES_MAX: Final = 4096
CALLER_BYTES: Final = 16

# What RFC 6750 allows in a bearer token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")
_SCHEME: Final = "bearer "
_CALLER: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}\Z")


class TokenError(ValueError):
    """A list of tokens is malformed; the message never holds a token."""


class Token(NamedTuple):
    """The digest of an accepted token, and its caller."""

    digest: bytes
    caller: bytes


def caller_id(kind: str, *parts: bytes) -> bytes:
    """The 16 bytes that stand for a caller in stored keys."""
    digest = hashlib.blake2b(kind.encode("ascii"), digest_size=CALLER_BYTES, person=b"caller")
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()


ANONYMOUS: Final = hashlib.blake2b(b"", digest_size=CALLER_BYTES).digest()


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
        if len(words) > 2:
            raise TokenError(f"line {number}: more than a caller and a token")
        token = words[-1]
        if not _TOKEN.match(token) or len(token) > TOKEN_BYTES_MAX:
            raise TokenError(
                f"line {number}: a token is 1 to {TOKEN_BYTES_MAX} letters, digits and -._~+/"
            )
        if len(words) == 2 and not _CALLER.match(words[0]):
            raise TokenError(f"line {number}: a caller is 1 to 64 letters, digits and -._@")
        name = words[0] if len(words) == 2 else None
        caller = caller_id("token", token.encode()) if name is None else _named(name)
        found.append(Token(_digest(token), caller))
    if len(found) > TOKENS_MAX:
        raise TokenError(f"{len(found)} tokens; at most {TOKENS_MAX}")
    return tuple(found)


class Tokens:
    """The tokens accepted now; empty when none is needed."""

    __slots__ = ("_accepted", "_watchers")

    def __init__(self, accepted: tuple[Token, ...] = ()) -> None:
        self._accepted = accepted
        self._watchers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._accepted)

    def replace(self, accepted: tuple[Token, ...]) -> None:
        """Accept these from now on, and no others."""
        self._accepted = accepted
        for tell in self._watchers:
            tell()

    def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever other tokens are accepted."""
        self._watchers.append(tell)

    def caller(self, token: str) -> bytes | None:
        """Who shows this token; None when it is not accepted.

        Every accepted token is compared, each in constant time, so that the time
        it takes says nothing of them.
        """
        if len(token) > TOKEN_BYTES_MAX:
            return None
        digest = _digest(token)
        caller: bytes | None = None
        for accepted in self._accepted:
            if hmac.compare_digest(accepted.digest, digest):
                caller = accepted.caller
        return caller


def _named(name: str) -> bytes:
    return caller_id("name", name.encode("ascii"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
