"""`holdfast kv`: read the key-value storage of an actor, without waking it."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import typer

from holdfast.cli.session import Session, paged
from holdfast.cli.values import KeyArg, NameArg, parse_key
from holdfast.client import Client
from holdfast.errors import ActorError
from holdfast.v1 import actor_pb2, kv_service_pb2

app = typer.Typer(no_args_is_help=True, help="Read the key-value storage of an actor.")


def _target(name: str, parts: list[str]) -> actor_pb2.ActorTarget:
    return actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name=name, key=parts))


def _fields(entry: kv_service_pb2.KvEntry) -> dict[str, str]:
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


@app.command("get")
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
        answer = await client.transport.kv_get(request, session.deadline)
        if not answer.entries:
            raise ActorError("kv", "entry_not_found", f"there is no entry {entry!r}")
        session.show(_fields(answer.entries[0]))

    session.run(body)


@app.command("list")
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
        async def ask(size: int, token: str) -> tuple[Any, str]:
            request = kv_service_pb2.ListKvEntriesRequest(
                namespace=session.namespace,
                target=_target(name, parts),
                prefix=prefix.encode(),
                page_size=size,
                page_token=token,
            )
            answer = await client.transport.kv_list(request, session.deadline)
            return answer.entries, answer.next_page_token

        async for entry in paged(limit, ask):
            session.line(_fields(entry))

    session.run(body)


__all__ = ["app"]
