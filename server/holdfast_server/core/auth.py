"""Who calls: an identity, however it was proven, and what it may do.

Roles are ordered: who may call may read, and an admin may do everything. An identity that
is in no namespace of a request is refused before it learns whether there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

CALLER_BYTES: Final = 16
_SHOWN: Final = 128


RoleWord = Literal["none", "read", "call", "admin"]
_WORDS: Final[tuple[RoleWord, ...]] = ("none", "read", "call", "admin")


class Role(IntEnum):
    """What a caller may do, from little to everything."""

    NONE = 0
    READ = 1
    CALL = 2
    ADMIN = 3

    @property
    def word(self) -> RoleWord:
        """How it is written in lists of tokens, claims and errors."""
        return _WORDS[self.value]


ROLES: Final[Mapping[str, Role]] = {role.word: role for role in Role if role}


class Source(Enum):
    """What an identity was proven by."""

    NONE = "none"
    TOKEN = "token"
    JWT = "jwt"
    CERTIFICATE = "certificate"


def caller_id(kind: str, *parts: bytes) -> bytes:
    """The 16 bytes that stand for a caller in stored keys."""
    digest = hashlib.blake2b(kind.encode("ascii"), digest_size=CALLER_BYTES, person=b"caller")
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()


ANONYMOUS: Final = hashlib.blake2b(b"", digest_size=CALLER_BYTES).digest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identity:
    """A caller that was let in. `caller` is what its stored replies belong to; `name` is empty
    where it has none; `namespaces` is None for all of them; `expires_at_s` is a time since
    1970, None for never."""

    caller: bytes
    name: str = ""
    source: Source = Source.NONE
    role: Role = Role.ADMIN
    namespaces: frozenset[str] | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    expires_at_s: float | None = None

    def check_role(self, needed: Role, what: str) -> None:
        """FORBIDDEN unless this identity has the role, or a higher one."""
        if self.role < needed:
            raise HoldfastError(
                errors.FORBIDDEN,
                f"{what[:_SHOWN]} needs the role {needed.word}; this caller has {self.role.word}",
                metadata={"needs": needed.word, "role": self.role.word},
            )

    def check_namespace(self, name: str) -> None:
        """FORBIDDEN for a namespace that is none of its own, whether or not it exists."""
        if self.namespaces is not None and name not in self.namespaces:
            raise HoldfastError(
                errors.FORBIDDEN,
                f"this caller may not use the namespace {name[:_SHOWN]!r}",
                metadata={"namespace": name[:_SHOWN]},
            )


NOBODY: Final = Identity(caller=ANONYMOUS)
"""Whoever calls a server that asks nobody who they are."""


def certificate_identity(kind: str, names: Iterable[bytes]) -> Identity:
    """Whom a client's certificate names; `kind` is gRPC's word for what the names are."""
    parts = sorted(names)
    shown = (
        ""
        if kind == "x509_pem_cert"
        else ",".join(part.decode("utf-8", "replace") for part in parts)
    )
    return Identity(
        caller=caller_id("certificate", kind.encode(), *parts),
        name=shown,
        source=Source.CERTIFICATE,
    )
