"""`c.auth`: who called from outside the server, as an actor's code is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["none", "read", "call", "admin"]
"""What a caller may do of itself: read, call actors, or everything."""

AuthSource: TypeAlias = Literal["none", "token", "jwt", "certificate"]
"""What a caller was known by; "none" where the server asks nobody who they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """A caller that the server let in.

    `caller` is its name: that of its line in the list of tokens, the `sub` of its JWT, or the
    names in its certificate, joined by commas; None where it has none. `namespaces` are those
    that it may use, None for all. `claims` are those of its JWT, which cannot be changed;
    empty for any other. Names of one source say nothing of another: look at `source`, and in
    a JWT at `claims["iss"]`, before two of them count as the same.
    """

    source: AuthSource
    caller: str | None
    role: Role
    namespaces: frozenset[str] | None
    claims: Mapping[str, Any] = field(repr=False)


__all__ = ["Auth", "AuthSource", "Role"]
