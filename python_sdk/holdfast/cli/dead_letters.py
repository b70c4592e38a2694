"""`holdfast dead-letters`: sends that their target refused until their tries were used up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli.protos import plain, when
from holdfast.cli.session import Session, paged
from holdfast.client import Client
from holdfast.v1 import dead_letter_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Look after sends that were given up.")

IdArg = Annotated[str, typer.Argument(help="Id of a dead letter, as `list` prints it.")]


def _fields(letter: pb.DeadLetter) -> dict[str, Any]:
    return {
        "dead_letter_id": letter.dead_letter_id,
        "sender": {"name": letter.sender.name, "key": list(letter.sender.key)},
        "target": {"name": letter.target.name, "key": list(letter.target.key)},
        "action": letter.action,
        "args": plain(letter.args),
        "kwargs": plain(letter.kwargs) if letter.HasField("kwargs") else {},
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "sent_at": when(letter.sent_at),
    }


@app.command("list")
def list_letters(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """Print the dead letters of the namespace, one a line."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        async def ask(size: int, token: str) -> tuple[Any, str]:
            request = pb.ListDeadLettersRequest(
                namespace=session.namespace, page_size=size, page_token=token
            )
            answer = await client.transport.dead_letters(
                "ListDeadLetters", request, session.deadline
            )
            return answer.dead_letters, answer.next_page_token

        async for letter in paged(limit, ask):
            session.line(_fields(letter))

    session.run(body)


@app.command("resend")
def resend(ctx: typer.Context, letter: IdArg) -> None:
    """Send a dead letter again, with all its tries before it."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        request = pb.RetryDeadLetterRequest(namespace=session.namespace, dead_letter_id=letter)
        await client.transport.dead_letters("RetryDeadLetter", request, session.deadline)

    session.run(body)


@app.command("discard")
def discard(ctx: typer.Context, letter: IdArg) -> None:
    """Delete a dead letter."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        request = pb.DiscardDeadLetterRequest(namespace=session.namespace, dead_letter_id=letter)
        await client.transport.dead_letters("DiscardDeadLetter", request, session.deadline)

    session.run(body)


__all__ = ["app"]
