"""Checks of what callers send that every transport makes, whatever its messages look like."""

from __future__ import annotations

from collections.abc import Container

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

DEFAULT_NAMESPACE = "default"


def known_namespace(name: str, namespaces: Container[str]) -> str:
    """The namespace that a request names, `default` if none; NAMESPACE_NOT_FOUND."""
    name = name or DEFAULT_NAMESPACE
    if name not in namespaces:
        raise HoldfastError(errors.NAMESPACE_NOT_FOUND, f"there is no namespace {name[:64]!r}")
    return name


def check_size(field: str, size: int, limit: int) -> None:
    """MESSAGE_INCOMING_TOO_LONG for more than `limit` bytes."""
    if size > limit:
        raise HoldfastError(
            errors.MESSAGE_INCOMING_TOO_LONG,
            f"{field}: {size} bytes; at most {limit}",
            metadata={"field": field, "limit": str(limit), "size": str(size)},
        )
