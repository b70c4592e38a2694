"""The algorithms that a JWT may be signed with: never `none`, and no secrets beside keys."""

from __future__ import annotations

from typing import Final

SECRETS: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC: Final = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA"),
    }
)
DEFAULT: Final = frozenset({"RS256", "ES256", "EdDSA"})


def check_algorithms(names: frozenset[str]) -> None:
    """ValueError for a list that no server may have."""
    if not names:
        raise ValueError("names none")
    unknown = names - SECRETS - PUBLIC
    if unknown:
        raise ValueError(f"holds {min(unknown)[:16]!r}, which is none of its algorithms")
    if names & SECRETS and names & PUBLIC:
        raise ValueError("mixes secrets (HS...) with public keys; keep one kind")
