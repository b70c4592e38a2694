"""Errors on their way between actor code and the runtime.

Inside an actor everything catalogued is an ActorError, whether the actor's own
`c` raised it or a call to another actor: code can catch it by group and code.
What leaves a handler is told to its caller as follows. A UserError goes out as
it is. So does the uncaught error of a callee, whose text was made for callers;
but not one that says "try again", since a caller that does would repeat the
calls that this turn made before. A failure of the store is this turn's too, whose
outcome is then unknown. Anything else is logged with its stack, and the caller
learns only `internal_error`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address
from holdfast_server.runtime.runners.local.state import not_encodable

log = logging.getLogger("holdfast.actor")

# Nothing more of the turn can be committed; what it has committed may be stored or not.
_STORE_FAILED = (errors.COMMIT_UNKNOWN, errors.STORE_UNAVAILABLE)

# Of a callee: nothing in them is for the caller's caller.
_OWN_AFFAIR = (errors.INTERNAL_ERROR, errors.CANCELLED, errors.STALE_EPOCH)


def ended_from_outside(error: BaseException) -> bool:
    """Whether `error` ends the running task itself, which is cancelled or closed.

    A handler may also raise the like, or meet that of another task which it awaits:
    then it is an error like any other. So is one that would end the process, which only
    a signal does.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        # A coroutine that nobody awaits any more is closed where no task runs.
        return not in_loop() or asyncio.current_task() is None
    return False


def in_loop() -> bool:
    """Whether the running code holds an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def actor_error(error: HoldfastError) -> sdk.ActorError:
    """A catalogued failure as actor code meets it."""
    metadata: dict[str, Any] | None = dict(error.metadata) or None
    if error.reason is errors.USER_ERROR:
        raw = error.user_metadata_json
        metadata = json.loads(raw) if raw else None
    return sdk.ActorError(
        error.group, error.code, error.message, metadata, reason=error.reason.reason
    )


def user_error(error: sdk.UserError) -> HoldfastError:
    """A UserError as the catalogue knows it."""
    return _user_error(str(error.message), error.code, error.metadata)


def _user_error(message: str, code: str, metadata: Any) -> HoldfastError:
    encoded = None
    if metadata is not None:
        try:
            encoded = payload.encode(metadata, payload.Encoding.JSON)
        except sdk.EncodeError as error:
            log.error("metadata of UserError %r is left out: %s", code, error)
    return HoldfastError(
        errors.USER_ERROR, _sendable(message), code=_sendable(code), user_metadata_json=encoded
    )


def _sendable(text: str) -> str:
    """`text` with what UTF-8 cannot carry escaped: halves of characters, as file names have."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def outward(error: BaseException, what: str, address: Address) -> HoldfastError:
    """What the caller of a handler may know of the exception that left it."""
    told = _outward(error, what, address)
    told.ran = True
    return told


def _outward(error: BaseException, what: str, address: Address) -> HoldfastError:
    if isinstance(error, HoldfastError):
        return error
    if isinstance(error, sdk.UserError):
        return user_error(error)
    if isinstance(error, sdk.EncodeError):
        return not_encodable(error)
    if isinstance(error, sdk.ActorError):
        reason = errors.CATALOGUE.get(error.reason)
        if reason is errors.USER_ERROR:
            return _user_error(error.message, error.code, error.metadata)
        if reason in _STORE_FAILED:
            return HoldfastError(errors.COMMIT_UNKNOWN)
        if reason is not None and reason.retry_after_s is None and reason not in _OWN_AFFAIR:
            metadata = {key: str(value) for key, value in (error.metadata or {}).items()}
            return HoldfastError(reason, error.message, metadata=metadata)
    log.error("%s of %s failed", what, address, exc_info=error)
    return HoldfastError(errors.INTERNAL_ERROR)
