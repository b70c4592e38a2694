"""`holdfast call`: run an action and print what it gives."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast._handle import ActorHandle
from holdfast.cli.session import Session
from holdfast.cli.values import KeyArg, NameArg, Stdin, parse_key, parse_object, parse_value
from holdfast.client import Client
from holdfast.errors import ActorError


def call(
    ctx: typer.Context,
    name: NameArg,
    key: KeyArg,
    action: Annotated[str, typer.Argument(help="Wire name of the action.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(help="Arguments, each as JSON; '-' reads one from standard input."),
    ] = None,
    named: Annotated[
        str | None, typer.Option(help="Named arguments, a JSON object, or '-'.")
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", help="Input if this call creates the actor: JSON, or '-'."),
    ] = None,
    existing: Annotated[
        bool, typer.Option("--existing", help="Fail where there is no such actor.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="Repeating the call with this key gives the same answer for 24 hours."),
    ] = None,
) -> None:
    """Run an action of an actor, which is created if it is missing, and print its result.

    The items of a streaming action are printed as they come, one a line.
    """
    session: Session = ctx.obj
    if existing and input_ is not None:
        raise typer.BadParameter("--input is for an actor that the call creates, not --existing")
    if idempotency_key == "":
        raise typer.BadParameter("--idempotency-key has at least one character")
    stdin = Stdin()
    parts = parse_key(key)
    values = [parse_value(stdin.text(text)) for text in args or ()]
    keywords = {} if named is None else parse_object(stdin.text(named), "--named")
    given = None if input_ is None else parse_value(stdin.text(input_))

    async def body(client: Client) -> None:
        if existing:
            handle = client.get(name, parts)
        else:
            handle = client.get_or_create(name, parts, input=given)
        handle = handle.with_options(idempotency_key=idempotency_key)
        await _run(session, handle, action, values, keywords)

    session.run(body)


async def _run(
    session: Session, handle: ActorHandle, action: str, values: list[Any], named: dict[str, Any]
) -> None:
    try:
        session.show(await handle.action(action, *values, **named))
    except ActorError as error:
        # The server says which kind it is before anything has run.
        if error.reason != "ACTION_WRONG_KIND":
            raise
        async for item in handle.action_stream(action, *values, **named):
            session.line(item)


__all__ = ["call"]
