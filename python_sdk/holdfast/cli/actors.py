"""`holdfast actors`: list, show and destroy actors."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from holdfast._transport import ActorInfo, Lifecycle, Target
from holdfast.cli.session import Session
from holdfast.cli.values import KeyArg, NameArg, parse_key
from holdfast.client import Client

app = typer.Typer(no_args_is_help=True, help="List, show and destroy actors.")


def _fields(info: ActorInfo) -> dict[str, Any]:
    return {
        "actor_id": info.actor_id,
        "name": info.name,
        "key": list(info.key),
        "namespace": info.namespace,
        "created_at": info.created_at.isoformat() if info.created_at is not None else None,
    }


@app.command("list")
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
        async for info in client.list(name, key_prefix=parts, page_size=min(limit, 100)):
            if session.json:
                session.show(_fields(info))
            else:
                typer.echo(f"{info.actor_id}  {json.dumps(list(info.key), ensure_ascii=False)}")
            left -= 1
            if left == 0:
                return

    session.run(body)


@app.command("get")
def get_actor(ctx: typer.Context, name: NameArg, key: KeyArg) -> None:
    """Show one actor."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        request = Lifecycle(
            namespace=session.namespace,
            target=Target(name=name, key=tuple(parts)),
            timeout=session.deadline,
        )
        session.show(_fields(await client.transport.get(request)))

    session.run(body)


@app.command("destroy")
def destroy_actor(ctx: typer.Context, name: NameArg, key: KeyArg) -> None:
    """Destroy one actor with everything it owns, and print its id."""
    session: Session = ctx.obj
    parts = parse_key(key)

    async def body(client: Client) -> None:
        session.show({"actor_id": await client.destroy(name, parts)})

    session.run(body)


__all__ = ["app"]
