"""The commands of `holdfast`; see the package for exit codes.

With `--json` results are one JSON document a line, and errors one JSON object
on stderr; without it they are for reading.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from holdfast._transport import ActorInfo, Lifecycle, Target
from holdfast.client import Client
from holdfast.errors import ActorError, HoldfastError
from holdfast.payload import Encoding
from holdfast.registry import server_entry
from holdfast.tls import TlsConfig
from holdfast.v1 import actor_pb2, kv_service_pb2

ACTOR_ERROR: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
UNAVAILABLE_REASONS: Final = frozenset(
    {"UNAVAILABLE", "STORE_UNAVAILABLE", "SERVER_DRAINING", "COMMIT_UNKNOWN"}
)

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Call durable actors.")
actors_app = typer.Typer(no_args_is_help=True, help="List, show and destroy actors.")
kv_app = typer.Typer(no_args_is_help=True, help="Read the key-value storage of an actor.")
app.add_typer(actors_app, name="actors")
app.add_typer(kv_app, name="kv")

NameArg = Annotated[str, typer.Argument(help="Registered name of the actor's class.")]
KeyArg = Annotated[str, typer.Argument(help='One string, or a JSON list: \'["a","b"]\'.')]


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
        """A client of that server."""
        return Client(
            self.server,
            token=self.token,
            namespace=self.namespace,
            tls=self.tls,
            timeout=self.timeout,
            encoding=Encoding.JSON,
        )

    def run(self, body: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        """Run a command with a client; a failure ends the process with its exit code."""

        async def with_client() -> None:
            async with self.client() as client:
                await body(client)

        try:
            asyncio.run(with_client())
        except ActorError as error:
            self.fail(error)
            unavailable = error.reason in UNAVAILABLE_REASONS
            raise typer.Exit(UNAVAILABLE if unavailable else ACTOR_ERROR) from None
        except HoldfastError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(USAGE) from None

    def fail(self, error: ActorError) -> None:
        """Say on stderr what failed."""
        if self.json:
            fields = {
                "group": error.group,
                "code": error.code,
                "message": error.message,
                "metadata": error.metadata,
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
        float, typer.Option(min=0.001, help="Seconds for a call with all its retries.")
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
) -> None:
    """Options that stand before the command."""
    if (cert is None) != (key is None):
        raise typer.BadParameter("--cert and --key go together")
    config: bool | TlsConfig = tls
    if ca is not None or cert is not None:
        config = TlsConfig(ca=ca, certificate=cert, key=key)
    ctx.obj = Session(server, namespace, token, timeout, as_json, config)


def parse_key(text: str) -> list[str]:
    """A key: a JSON list of strings, or else one string."""
    if not text.startswith("["):
        return [text]
    try:
        parts = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"the key is not a JSON list: {error}") from None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise typer.BadParameter("the key must be a JSON list of strings")
    return parts


def parse_value(text: str) -> Any:
    """A JSON value; a plain word needs its quotes."""
    try:
        return json.loads(text)
    except ValueError:
        quoted = json.dumps(text, ensure_ascii=False)
        raise typer.BadParameter(f"not JSON: {text} (a string is written '{quoted}')") from None


def _actor(info: ActorInfo) -> dict[str, Any]:
    return {
        "actor_id": info.actor_id,
        "name": info.name,
        "key": list(info.key),
        "namespace": info.namespace,
        "created_at": info.created_at.isoformat() if info.created_at is not None else None,
    }


def _entry(entry: kv_service_pb2.KvEntry) -> dict[str, str]:
    # A key has no kind of its own; one that is no text is shown in base64.
    try:
        shown = {"key": entry.key.decode("utf-8")}
    except UnicodeDecodeError:
        shown = {"key_base64": base64.b64encode(entry.key).decode("ascii")}
    if entry.text:
        shown["value"] = entry.value.decode("utf-8")
    else:
        shown["value_base64"] = base64.b64encode(entry.value).decode("ascii")
    return shown


@app.command()
def call(
    ctx: typer.Context,
    name: NameArg,
    key: KeyArg,
    action: Annotated[str, typer.Argument(help="Wire name of the action.")],
    args: Annotated[list[str] | None, typer.Argument(help="Arguments, each as JSON.")] = None,
) -> None:
    """Run an action of an actor, which is created if it is missing, and print its result.

    The items of a streaming action are printed as they come, one a line.
    """
    session: Session = ctx.obj
    parts, values = parse_key(key), [parse_value(text) for text in args or ()]

    async def body(client: Client) -> None:
        handle = client.get_or_create(name, parts)
        try:
            session.show(await handle.action(action, *values))
        except ActorError as error:
            # The server says which kind it is before anything has run.
            if error.reason != "ACTION_WRONG_KIND":
                raise
            async for item in handle.action_stream(action, *values):
                typer.echo(json.dumps(item, ensure_ascii=False))

    session.run(body)


@actors_app.command("list")
def list_actors(
    ctx: typer.Context,
    name: NameArg,
    prefix: Annotated[str, typer.Option(help="First parts of the keys, as a key.")] = "[]",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List the actors of a class in the order of their keys."""
    session: Session = ctx.obj
    parts = parse_key(prefix)

    async def body(client: Client) -> None:
        left = limit
        async for info in client.list(name, key_prefix=parts, page_size=min(limit, 1000)):
            if session.json:
                session.show(_actor(info))
            else:
                typer.echo(f"{info.actor_id}  {json.dumps(list(info.key), ensure_ascii=False)}")
            left -= 1
            if left == 0:
                return

    session.run(body)


@actors_app.command("get")
def get_actor(ctx: typer.Context, name: NameArg, key: KeyArg) -> None:
    """Show one actor."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        request = Lifecycle(
            namespace=session.namespace,
            target=Target(name=name, key=tuple(parts)),
            timeout=session.timeout,
        )
        session.show(_actor(await client.transport.get(request)))

    session.run(body)


@actors_app.command("destroy")
def destroy_actor(ctx: typer.Context, name: NameArg, key: KeyArg) -> None:
    """Destroy one actor with everything it owns, and print its id."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        actor_id = await client.destroy(name, parts)
        session.show({"actor_id": actor_id})

    session.run(body)


def _target(name: str, parts: list[str]) -> actor_pb2.ActorTarget:
    return actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name=name, key=parts))


@app.command()
def health(
    ctx: typer.Context,
    service: Annotated[str, typer.Option(help="Full name of a service; all when left out.")] = "",
) -> None:
    """Ask the server whether it serves; exit code 3 when it does not or cannot be reached."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        serving, reason = await client.transport.health(service, session.timeout)
        session.show({"serving": serving, "reason": reason})
        if not serving:
            raise typer.Exit(UNAVAILABLE)

    session.run(body)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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


@kv_app.command("get")
def kv_get(
    ctx: typer.Context,
    name: NameArg,
    key: KeyArg,
    entry: Annotated[str, typer.Argument(help="The entry's key, as text.")],
) -> None:
    """Print one entry; exit code 1 when there is none."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        request = kv_service_pb2.GetKvEntriesRequest(
            namespace=session.namespace, target=_target(name, parts), keys=[entry.encode()]
        )
        answer = await client.transport.kv_get(request, session.timeout)
        if not answer.entries:
            typer.echo(f"error: no entry {entry!r}", err=True)
            raise typer.Exit(ACTOR_ERROR)
        session.show(_entry(answer.entries[0]))

    session.run(body)


@kv_app.command("list")
def kv_list(
    ctx: typer.Context,
    name: NameArg,
    key: KeyArg,
    prefix: Annotated[str, typer.Option(help="Only keys with this prefix.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """Print the entries in the order of their keys, one a line."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        left, token = limit, ""
        while left:
            request = kv_service_pb2.ListKvEntriesRequest(
                namespace=session.namespace,
                target=_target(name, parts),
                prefix=prefix.encode(),
                page_size=min(left, 1000),
                page_token=token,
            )
            answer = await client.transport.kv_list(request, session.timeout)
            for entry in answer.entries[:left]:
                typer.echo(json.dumps(_entry(entry), ensure_ascii=False))
            left -= min(left, len(answer.entries))
            token = answer.next_page_token
            if not token:
                return

    session.run(body)


__all__ = ["app", "parse_key", "parse_value"]
