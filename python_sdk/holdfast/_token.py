"""The bearer token of a client: one text, or a function that is asked for it.

A function is asked before each RPC and each opening of a session, and now and then while
one is open, as gRPC asks the credentials of a call; what is kept between two of these is
the function's own. Whatever is new is told to `changed`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from holdfast.errors import HoldfastError

TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""A bearer token, None for none, or a function, plain or `async`, that gives one."""


class NoToken(Exception):
    """The function has failed, which may pass."""


def check_token(token: str | None) -> str | None:
    """A token, or None for none; ValueError for what no header can carry."""
    if not token:
        return None
    if not (token.isascii() and token.isprintable()):
        raise ValueError("a token has only printable ASCII characters")
    return token


def check_source(source: TokenSource) -> TokenSource:
    """Where a client's token comes from; TypeError or ValueError for what cannot be."""
    if callable(source):
        return source
    if source is not None and not isinstance(source, str):
        raise TypeError(f"a token is a string, or a function, not {type(source).__name__}")
    return check_token(source)


class Tokens:
    """The token of one client. For one event loop."""

    def __init__(
        self, source: TokenSource, *, changed: Callable[[str], None] | None = None
    ) -> None:
        self._source: Callable[[], str | Awaitable[str | None] | None] | None = None
        self._asking: asyncio.Task[str | None] | None = None
        self.changed: Callable[[str], None] = changed or _nobody
        # The last one; of a function None before it was first asked.
        self.last: str | None = None
        self.renew(source)

    @property
    def asks(self) -> bool:
        """Whether there is a function to be asked."""
        return self._source is not None

    def renew(self, source: TokenSource) -> None:
        """Go on with another token, or another function."""
        source = check_source(source)
        self._asking = None
        if callable(source):
            self._source = source
        else:
            self._source = None
            self._is(source)

    async def ask(self) -> str | None:
        """The token of now. Raises NoToken where the function fails, HoldfastError where it
        gives what is no token."""
        if self._source is None:
            return self.last
        asking = self._asking
        if asking is None:
            try:
                given = self._source()
            except Exception as error:
                raise NoToken(_why(error)) from error
            if not inspect.isawaitable(given):
                return self._is(_checked(given))
            # Whoever asks meanwhile waits for the same answer.
            asking = self._asking = asyncio.ensure_future(_awaited(given))
            asking.add_done_callback(self._asked)
        try:
            return await asyncio.shield(asking)
        except HoldfastError:
            raise
        except Exception as error:
            raise NoToken(_why(error)) from error

    def forget(self) -> None:
        """Let go of whoever is told, once the client is closed."""
        self.changed = _nobody

    def replaces(self, shown: str | None) -> bool:
        """Whether who was refused with this token may come again with another."""
        return self._source is not None or self.last != shown

    def _asked(self, asking: asyncio.Future[str | None]) -> None:
        failed = asking.cancelled() or asking.exception() is not None
        if self._asking is asking:
            self._asking = None
            if not failed:
                self._is(asking.result())

    def _is(self, token: str | None) -> str | None:
        if token != self.last:
            self.last = token
            if token is not None:
                self.changed(token)
        return token


def _nobody(token: str) -> None:
    pass


async def _awaited(given: Awaitable[str | None]) -> str | None:
    return _checked(await given)


def _checked(token: str | None) -> str | None:
    if token is not None and not isinstance(token, str):
        raise HoldfastError(f"the function of the token gave {type(token).__name__}, not a string")
    try:
        return check_token(token)
    except ValueError as error:
        raise HoldfastError(f"the function of the token gave one that is none: {error}") from None


def _why(error: Exception) -> str:
    return f"no token: {type(error).__name__}: {error}"


__all__ = ["NoToken", "TokenSource", "Tokens", "check_source", "check_token"]
