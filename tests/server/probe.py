"""Looks into a server of this process, only to know when a test may go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast_server.app import Server
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.rpc.session.session import Session
from holdfast_server.runtime.activation import Activation


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go on until `condition` holds; the test's time limit ends it."""
    while not condition():  # noqa: ASYNC110 - nothing in the server signals it
        await asyncio.sleep(0)


def activation_of(server: Server, actor: str, *key: str) -> Activation | None:
    """The actor in memory, None when it is not there."""
    return server.node.catalog.find_scope(scope_of(Address("default", actor, key)))


async def until_waiting(server: Server, count: int, actor: str, *key: str) -> None:
    """Wait until `count` calls wait in an actor's mailbox."""

    def waiting() -> int:
        activation = activation_of(server, actor, *key)
        return len(activation.mailbox.waiting or ()) if activation is not None else 0

    await until(lambda: waiting() == count)


def sessions_of(server: Server) -> list[Session]:
    """The sessions that are open."""
    assert server.listener is not None
    return list(server.listener.sessions._sessions.values())
