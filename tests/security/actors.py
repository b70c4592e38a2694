"""Actors that tell who called them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import (
    Actor,
    Auth,
    Connection,
    Context,
    Event,
    Request,
    Response,
    WebSocket,
    action,
    setup,
)


@dataclass
class Told:
    seen: dict[str, Any] = field(default_factory=dict)


def shown(auth: Auth | None) -> Any:
    """What a test compares."""
    if auth is None:
        return None
    namespaces = None if auth.namespaces is None else sorted(auth.namespaces)
    return [auth.source, auth.caller, auth.role, namespaces]


def is_allowed(actor: Witness, c: Context[Told]) -> bool:
    return c.auth is not None and c.auth.caller != "mallory"


class Witness(Actor[Told]):
    """Tells who called."""

    state = Told
    emits = {"said": Event(str), "guarded": Event(str, can_subscribe=is_allowed)}

    async def on_create(self, c: Context[Told], input: Any) -> None:
        c.state.seen["on_create"] = shown(c.auth)

    @action
    async def who(self, c: Context[Told]) -> Any:
        return shown(c.auth)

    @action
    async def claims(self, c: Context[Told]) -> Any:
        assert c.auth is not None
        try:
            c.auth.claims["sub"] = "root"  # type: ignore[index]
        except TypeError:
            return {key: c.auth.claims[key] for key in ("iss", "sub")}

    @action
    async def say(self, c: Context[Told], text: str, event: str = "said") -> None:
        c.broadcast(event, text)

    @action
    async def ask(self, c: Context[Told], other: str) -> Any:
        return await c.client.get_or_create(Witness, [other]).who()

    @action
    async def tell_later(self, c: Context[Told]) -> None:
        c.schedule.after(0, "note", "timer")
        c.send(Witness, [*c.key], "note", "send")

        async def beside() -> None:
            async with c.turn():
                c.state.seen["turn"] = shown(c.auth)

        c.wait_until(beside())

    @action
    async def note(self, c: Context[Told], what: str) -> None:
        c.state.seen[what] = shown(c.auth)

    @action(read_only=True)
    async def seen(self, c: Context[Told]) -> dict[str, Any]:
        return c.state.seen

    @action
    async def stream(self, c: Context[Told], forever: bool = False) -> AsyncIterator[Any]:
        yield shown(c.auth)
        yield shown(c.auth)
        if forever:
            await asyncio.Event().wait()


class Host(Witness):
    """Asks its connections too."""

    async def on_before_connect(self, c: Context[Told], params: Any) -> None:
        assert c.auth is not None, "nobody connects from within"

    async def on_connect(self, c: Context[Told], conn: Connection) -> None:
        c.state.seen["on_connect"] = shown(c.auth)

    async def on_request(self, c: Context[Told], request: Request) -> Response:
        return Response(json.dumps(shown(c.auth)))

    async def on_websocket(self, c: Context[Told], socket: WebSocket) -> None:
        await socket.send(str(shown(c.auth)))
        async for _ in socket:
            await socket.send(str(shown(c.auth)))


registry = setup(use={"witness": Witness, "host": Host})
