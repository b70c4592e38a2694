"""`holdfast health`: whether the server serves; for probes of containers and people."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.session import UNAVAILABLE, Session
from holdfast.client import Client


def health(
    ctx: typer.Context,
    service: Annotated[str, typer.Option(help="Full name of a service; all when left out.")] = "",
) -> None:
    """Ask the server whether it serves; exit code 3 when it does not or cannot be reached."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        serving, reason = await client.transport.health(service, session.deadline)
        session.show({"serving": serving, "reason": reason})
        if not serving:
            raise typer.Exit(UNAVAILABLE)

    session.run(body)


__all__ = ["health"]
