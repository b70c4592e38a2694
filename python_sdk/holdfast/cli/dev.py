"""`holdfast dev`: serve a file on this machine while it is being written."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.session import USAGE
from holdfast.errors import HoldfastError
from holdfast.registry import server_entry


def dev(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="The application, e.g. app.py.")],
) -> None:
    """Serve the actors of a file on this machine; start again when it changes.

    Takes the options of `holdfast-server serve` too, like --data and --grpc.
    """
    try:
        main = server_entry("dev")
    except HoldfastError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(USAGE) from None
    raise typer.Exit(main([file, *ctx.args]))


__all__ = ["dev"]
