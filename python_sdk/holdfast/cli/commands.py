"""The command line: the options before the command, and the commands; see the package.

Each command, or group of commands, is a module of its own.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import actors, dead_letters, kv, schedules
from holdfast.cli.backup import backup
from holdfast.cli.call import call
from holdfast.cli.describe import describe
from holdfast.cli.dev import dev
from holdfast.cli.explain import explain
from holdfast.cli.health import health
from holdfast.cli.session import Session
from holdfast.tls import TlsConfig

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Call durable actors.",
)
# A negative number is an argument, not an option.
app.command(context_settings={"ignore_unknown_options": True})(call)
app.command()(describe)
app.command()(health)
app.command()(explain)
app.command()(backup)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(dev)
app.add_typer(actors.app, name="actors")
app.add_typer(kv.app, name="kv")
app.add_typer(schedules.app, name="schedules")
app.add_typer(dead_letters.app, name="dead-letters")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


def _pem_option(name: str, text: str) -> Any:
    variable = "HOLDFAST_" + name.strip("-").upper()
    return typer.Option(
        name, envvar=variable, exists=True, dir_okay=False, readable=True, help=text
    )


@app.callback()
def options(
    ctx: typer.Context,
    server: Annotated[
        str, typer.Option(envvar="HOLDFAST_SERVER", help="HOST:PORT of the server.")
    ] = "127.0.0.1:6430",
    namespace: Annotated[
        str, typer.Option(envvar="HOLDFAST_NAMESPACE", help="Namespace of the actors.")
    ] = "default",
    token: Annotated[
        str | None, typer.Option(envvar="HOLDFAST_TOKEN", help="Bearer token.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.001,
            envvar="HOLDFAST_TIMEOUT",
            help="Seconds for a call with all its retries; 'inf' for no end.",
        ),
    ] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print for machines: a JSON document a line.")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", envvar="HOLDFAST_TLS", help="Speak TLS.")] = False,
    ca: Annotated[
        Path | None, _pem_option("--ca", "Authorities to trust, in PEM; turns TLS on.")
    ] = None,
    cert: Annotated[Path | None, _pem_option("--cert", "The client's certificate, in PEM.")] = None,
    key: Annotated[Path | None, _pem_option("--key", "Its private key, in PEM.")] = None,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """Options that stand before the command."""
    if (cert is None) != (key is None):
        raise typer.BadParameter("--cert and --key go together")
    config: bool | TlsConfig = tls
    if ca is not None or cert is not None:
        config = TlsConfig(ca=ca, certificate=cert, key=key)
    ctx.obj = Session(server, namespace, token, timeout, as_json, config)


__all__ = ["app"]
