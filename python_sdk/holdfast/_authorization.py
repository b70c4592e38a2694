"""The header that shows a client's token, and what a refusal of it means."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from holdfast._session_streams import local_error
from holdfast._status import to_actor_error
from holdfast._token import NoToken, Tokens


class Authorization:
    """What one call, one subscription or one session has shown, try after try.

    A token that was refused may have expired. Where another can be had, the refusal is
    something that passes; a second refusal of the same token is not.
    """

    __slots__ = ("_refused", "_shown", "_tokens")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._shown: str | None = None
        self._refused: str | None = None

    async def headers(self, timeout: float | None = None) -> list[tuple[str, str]]:
        """The header for the next try, if there is a token. Raises AioRpcError UNAVAILABLE
        where none could be had within `timeout` seconds."""
        tokens = self._tokens
        if tokens.asks:
            try:
                async with asyncio.timeout(timeout):
                    self._shown = await tokens.ask()
            except NoToken as error:
                raise local_error(grpc.StatusCode.UNAVAILABLE, str(error)) from error
            except TimeoutError:
                text = f"no token within {timeout:g} s"
                raise local_error(grpc.StatusCode.UNAVAILABLE, text) from None
        else:
            self._shown = tokens.last
        return [] if self._shown is None else [("authorization", f"Bearer {self._shown}")]

    def passing(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The failure of a try; UNAVAILABLE where another token may make it succeed."""
        if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return error
        shown, before = self._shown, self._refused
        if not self._tokens.replaces(shown) or (shown or "") == before:
            return error
        self._refused = shown or ""
        text = f"the token was refused: {to_actor_error(error).message}"
        return local_error(grpc.StatusCode.UNAVAILABLE, text)


__all__ = ["Authorization"]
