"""Delivers webhooks, one of them twice and one that is forged, then lists and replays them.

It calls the application at WEBHOOK_URL, by default http://127.0.0.1:8000.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any
from uuid import uuid4

import aiohttp

from examples.webhook_inbox.app import sign

URL = os.environ.get("WEBHOOK_URL", "http://127.0.0.1:8000")
TOKEN = os.environ.get("HOLDFAST_TOKEN", "")


async def deliver(
    session: aiohttp.ClientSession, tenant: str, delivery: str, content: Any, **forged: str
) -> tuple[int, Any]:
    """Send a webhook as its sender would; status and answer."""
    body = json.dumps(content).encode()
    headers = {"x-delivery-id": delivery, "x-signature": sign(tenant, delivery, body), **forged}
    async with session.post(f"/hooks/{tenant}", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def call(session: aiohttp.ClientSession, tenant: str, action: str, *args: Any) -> Any:
    """Call an inbox through the mounted gateway."""
    path = f"/actors/gateway/inbox/action/{action}"
    params = {
        "rvt-namespace": "default",
        "rvt-method": "getOrCreate",
        "rvt-runner": "default",
        "rvt-key": tenant,
    }
    headers = {"authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    async with session.post(path, params=params, json={"args": args}, headers=headers) as answer:
        told = await answer.json()
        return told["output"] if answer.status == 200 else told["code"]


async def main(url: str = URL) -> None:
    """Use the inbox of a new tenant."""
    tenant = f"acme-{uuid4().hex[:8]}"
    async with aiohttp.ClientSession(url) as session:
        for delivery, paid in (("d-1", 10), ("d-2", 25), ("d-1", 10)):
            print(delivery, *await deliver(session, tenant, delivery, {"paid": paid}))
        forged = {"x-signature": "sha256=0"}
        status, _ = await deliver(session, tenant, "d-3", {"paid": 10**6}, **forged)
        print("forged", status)
        for hook in await call(session, tenant, "list"):
            print(hook["number"], hook["delivery"], hook["body"])
        print("replays", (await call(session, tenant, "replay", 2))["replays"])
        print(await call(session, tenant, "replay", 7))


if __name__ == "__main__":
    asyncio.run(main())
