"""An identity, as an actor's code sees it."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Any

from holdfast.auth import Auth
from holdfast_server.core.auth import Identity


# An identity is compared as itself: whoever calls again by the same token is not told anew.
@lru_cache(maxsize=1024)
def auth_of(identity: Identity) -> Auth:
    """What `c.auth` is for a caller."""
    return Auth(
        source=identity.source.value,
        caller=identity.name or None,
        role=identity.role.word,
        namespaces=identity.namespaces,
        claims=_frozen(identity.claims),
    )


def _frozen(value: Any) -> Any:
    """A value of JSON that nobody can change."""
    if isinstance(value, dict | MappingProxyType):
        return MappingProxyType({key: _frozen(each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    return value
