"""Errors that users of the SDK meet, on either side of the wire.

Every error of the package derives from HoldfastError. A UserError is the only one
whose text leaves an actor; everything else reaches a client as `internal_error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.reasons import REASONS


class HoldfastError(Exception):
    """Base of all errors of this package."""


class ActorError(HoldfastError):
    """A call failed; what the server said about it.

    `group` and `code` name the failure for people ("actor", "not_found"), `message`
    explains it. `metadata` is what the actor gave its UserError, or details of the
    server as strings; None without. `reason` is the failure's name on the wire, a key
    of `holdfast.reasons.REASONS`, and `status` the name of its gRPC status. `retryable`
    says whether the same call, with the same idempotency key, may be tried again, and
    `retry_after_s` how many seconds to wait at least; None where the server did not say.
    Clients retry by themselves until the deadline of the call: what they raise, they
    could not wait for.
    """

    def __init__(
        self,
        group: str,
        code: str,
        message: str,
        metadata: dict[str, Any] | None = None,
        reason: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        status: str | None = None,
    ) -> None:
        """`retryable` and `status` are those of `reason` where they are None."""
        known = REASONS.get(reason)
        if retryable is None:
            retryable = known.retryable if known is not None else False
        if status is None:
            status = known.status if known is not None else "UNKNOWN"
        super().__init__(group, code, message, metadata, reason, retryable, retry_after_s, status)
        self.group = group
        self.code = code
        self.message = message
        self.metadata = metadata
        self.reason = reason
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status

    def __str__(self) -> str:
        return f"{self.group}.{self.code}: {self.message}"


class UserError(HoldfastError):
    """Raised by actor code to tell the caller something; it is stored and sent as it is."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "user_error",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.metadata = metadata


class EncodeError(HoldfastError):
    """A value cannot be encoded; `path` says which part of it."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class DecodeError(HoldfastError):
    """Bytes do not decode to what was expected; `argument` names the parameter, if any."""

    def __init__(self, message: str, path: str, argument: str | None = None) -> None:
        super().__init__(message, path, argument)
        self.message = message
        self.path = path
        self.argument = argument

    def __str__(self) -> str:
        if self.argument is not None and self.path == self.argument:
            return f"argument {self.argument!r}: {self.message}"
        if self.argument is not None:
            return f"argument {self.argument!r} at {self.path}: {self.message}"
        return f"{self.path}: {self.message}"


class RegistrationError(HoldfastError, ValueError):
    """An actor class cannot be registered; names the class and the attribute."""
