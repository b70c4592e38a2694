"""`holdfast backup`: a backup of a running server, in the directory that it was given."""

from __future__ import annotations

import typer

from holdfast.cli.session import AdminOption, Session
from holdfast.client import Client
from holdfast.v1 import admin_service_pb2 as pb


def backup(ctx: typer.Context, admin: AdminOption = "") -> None:
    """Take a backup of the server while it goes on serving, and print its name.

    Give --timeout as many seconds as the copying takes.
    """
    base: Session = ctx.obj
    session = base.of_admin(admin)

    async def body(client: Client) -> None:
        request = pb.CreateBackupRequest()
        answer = await client.transport.admin("CreateBackup", request, session.deadline)
        session.show(
            {
                "backup": answer.name,
                "bytes": answer.total_bytes,
                "copied_bytes": answer.copied_bytes,
            }
        )

    session.run(body)


__all__ = ["backup"]
