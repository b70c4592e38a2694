"""What every command shares: the client it uses, how it prints, how it ends.

With `--json` results are one JSON document a line, and errors one JSON object
on stderr; without it they are for reading.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, TypeVar

import typer

from holdfast.client import Client
from holdfast.errors import ActorError, HoldfastError
from holdfast.payload import Encoding
from holdfast.tls import TlsConfig

T = TypeVar("T")
_ADMIN_PORT: Final = 6432
AdminOption = Annotated[
    str,
    typer.Option(
        "--admin",
        envvar="HOLDFAST_ADMIN_SERVER",
        help="HOST:PORT of the admin server; port 6432 of the server's host by default.",
    ),
]
FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130
# Of the server: `page_size_max`.
_PAGE_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """What the options before the command say."""

    server: str
    namespace: str
    token: str | None
    timeout: float
    json: bool
    tls: bool | TlsConfig = False

    def client(self) -> Client:
        """A client of that server; ends the process with `USAGE` where there can be none."""
        try:
            return Client(
                self.server,
                token=self.token,
                namespace=self.namespace,
                tls=self.tls,
                timeout=self.deadline,
                encoding=Encoding.JSON,
                # One command is one call: opening a session would be one more.
                session=False,
            )
        except ValueError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(USAGE) from None

    def of_admin(self, admin: str) -> Session:
        """The same for the admin server: at `admin`, or at its port of the server's host."""
        host = self.server.rpartition(":")[0]
        return replace(self, server=admin or f"{host}:{_ADMIN_PORT}")

    @property
    def deadline(self) -> float | None:
        """Seconds for a call with all its retries; None for no end."""
        return None if self.timeout == math.inf else self.timeout

    def run(self, body: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        """Run a command with a client; a failure ends the process with its exit code."""

        async def with_client() -> None:
            async with self.client() as client:
                await body(client)

        try:
            asyncio.run(with_client())
        except ActorError as error:
            self.fail(error)
            unavailable = "UNAVAILABLE" in (error.status, error.reason)
            raise typer.Exit(UNAVAILABLE if unavailable else FAILED) from None
        except HoldfastError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(USAGE) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    def fail(self, error: ActorError) -> None:
        """Say on stderr what failed."""
        if self.json:
            fields = {
                "group": error.group,
                "code": error.code,
                "message": error.message,
                "metadata": error.metadata,
                "reason": error.reason,
                "retryable": error.retryable,
            }
            typer.echo(json.dumps({"error": fields}, ensure_ascii=False), err=True)
            return
        typer.echo(f"error: {error}", err=True)
        for name, value in (error.metadata or {}).items():
            typer.echo(f"  {name}: {value}", err=True)

    def show(self, value: Any) -> None:
        """Print a value as JSON."""
        indent = None if self.json else 2
        typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))

    def line(self, value: Any) -> None:
        """Print a value as JSON on one line, also without `--json`."""
        typer.echo(json.dumps(value, ensure_ascii=False))


async def paged(
    limit: int, ask: Callable[[int, str], Awaitable[tuple[Sequence[T], str]]]
) -> AsyncIterator[T]:
    """The first `limit` rows of a list; `ask` gives a page of at most so many rows by its
    token, and the token of the next."""
    left, token = limit, ""
    while left:
        rows, token = await ask(min(left, _PAGE_MAX), token)
        for row in rows[:left]:
            yield row
        left -= min(left, len(rows))
        if not token:
            return


__all__ = ["FAILED", "INTERRUPTED", "UNAVAILABLE", "USAGE", "AdminOption", "Session", "paged"]
