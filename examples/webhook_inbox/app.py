"""An inbox of webhooks, inside a web application of Starlette.

Serve it with `python -m examples.webhook_inbox.app`, then run
`python -m examples.webhook_inbox.client`.

`POST /hooks/TENANT` takes a webhook: its signature is checked before anything else, so that
nobody else makes an actor or uses up a delivery's id. Its id is then the idempotency key of
the call that stores it, and the sender hears "taken" when it is on disk: whatever is
delivered again, since an answer was lost or the server was killed, is taken once, for as
long as answers are kept (a day: `reply_key_ttl_s`). The mounted gateway, below `/actors`, lists and
replays: give the process HOLDFAST_TOKEN before you let other machines reach it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from holdfast import Actor, ActorError, Client, Context, Event, UserError, action, setup

SECRET = os.environ.get("WEBHOOK_SECRET", "a secret for this example only")
BODY_BYTES_MAX = 100_000
DELIVERY_CHARS_MAX = 200
KEPT = timedelta(days=30)


@dataclass
class Hook:
    """A webhook as it was taken; the first has number 1."""

    number: int
    delivery: str
    received_at: datetime
    body: Any
    replays: int = 0


@dataclass
class Counts:
    """What an inbox knows beside its webhooks."""

    received: int = 0
    replayed: int = 0


class Inbox(Actor[Counts]):
    """The webhooks of one tenant. Key: [tenant]."""

    state = Counts
    emits = {"hook": Event(Hook)}

    @action
    async def take(self, c: Context[Counts], delivery: str, body: Any) -> int:
        """Store a webhook and tell whoever listens; its number."""
        c.state.received += 1
        hook = Hook(c.state.received, delivery, c.now(), body)
        await self._tell(c, hook)
        return hook.number

    @action
    async def replay(self, c: Context[Counts], number: int) -> Hook:
        """Tell whoever listens of a webhook again."""
        stored = await c.kv.get(key_of(number))
        if stored is None:
            raise UserError(f"there is no webhook {number}", code="no_such_hook")
        hook = read(str(stored))
        hook.replays += 1
        c.state.replayed += 1
        await self._tell(c, hook)
        return hook

    @action(read_only=True)
    async def list(self, c: Context[Counts], limit: int = 20, before: int = 10**9) -> list[Hook]:
        """Webhooks with a number less than `before`, the latest first."""
        if not 0 < limit <= 100:
            raise UserError("a page has 1 to 100 webhooks", code="bad_limit")
        rows = await c.kv.range("hook/", key_of(before), limit=limit, reverse=True)
        return [read(str(text)) for _, text in rows]

    @action(read_only=True)
    def counts(self, c: Context[Counts]) -> Counts:
        """How many were taken, and told of again."""
        return c.state

    async def _tell(self, c: Context[Counts], hook: Hook) -> None:
        await c.kv.put(key_of(hook.number), write(hook), ttl=KEPT)
        c.broadcast("hook", hook)


def key_of(number: int) -> str:
    """Where a webhook is kept; sorted as the numbers are."""
    return f"hook/{min(max(number, 0), 10**9):010}"


def write(hook: Hook) -> str:
    """A webhook as text."""
    return json.dumps({**vars(hook), "received_at": hook.received_at.isoformat()})


def read(text: str) -> Hook:
    """A webhook from text."""
    told = json.loads(text)
    return Hook(**{**told, "received_at": datetime.fromisoformat(told["received_at"])})


def sign(tenant: str, delivery: str, body: bytes, secret: str = SECRET) -> str:
    """What a sender shows in `x-signature`. Each tenant has a secret of its own, made of ours."""
    own = hmac.digest(secret.encode(), tenant.encode(), hashlib.sha256)
    signed = delivery.encode() + b"." + body
    return "sha256=" + hmac.new(own, signed, hashlib.sha256).hexdigest()


async def receive(request: Request) -> JSONResponse:
    """POST /hooks/TENANT"""
    tenant, delivery = request.path_params["tenant"], request.headers.get("x-delivery-id", "")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            return refusal(413, f"a webhook has at most {BODY_BYTES_MAX} bytes")
    shown = request.headers.get("x-signature", "")
    if not hmac.compare_digest(shown.encode(), sign(tenant, delivery, body).encode()):
        return refusal(401, "the signature is not right")
    if not 0 < len(delivery) <= DELIVERY_CHARS_MAX:
        return refusal(400, f"x-delivery-id has 1 to {DELIVERY_CHARS_MAX} characters")
    try:
        content = json.loads(body)
    except ValueError:
        return refusal(400, "the body is no JSON")
    client: Client = request.state.client
    inbox = client.get_or_create(Inbox, [tenant])
    try:
        number = await inbox.with_options(idempotency_key=delivery).take(delivery, content)
    except ActorError as error:
        if error.code == "key_reused":
            return refusal(409, "this delivery came before, with another body")
        # The sender delivers it again.
        return refusal(503, error.message)
    return JSONResponse({"taken": number}, status_code=202)


def refusal(status: int, message: str) -> JSONResponse:
    """An answer that says what was wrong."""
    return JSONResponse({"error": message}, status_code=status)


def make_app(**config: Any) -> Starlette:
    """The web application; `config` are settings of Holdfast."""
    holdfast = setup(use={"inbox": Inbox}).asgi(**config)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Client]]:
        async with holdfast.running():
            token = os.environ.get("HOLDFAST_TOKEN", "").split(",")[0] or None
            async with Client(f"127.0.0.1:{holdfast.port}", token=token) as client:
                yield {"client": client}

    routes = [Route("/hooks/{tenant}", receive, methods=["POST"]), Mount("/actors", holdfast)]
    return Starlette(routes=routes, lifespan=lifespan)


app = make_app()

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
