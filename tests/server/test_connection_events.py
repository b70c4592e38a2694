"""Subscriptions of connections: made while it opens, asked as who it is, ended with it."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import payload
from holdfast_server.app import Server
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Delivery, Subscribe
from holdfast_server.runtime.readers import Link, Subscription
from tests.server.conftest import Start
from tests.server.peers import TestPeer, attach, call_on, rejected
from tests.server.probe import until
from tests.server.rooms import registry
from tests.server.stage import Stage


class ListeningPeer(TestPeer):
    """A client that subscribes as it connects."""

    def __init__(self, server: Server, *names: str) -> None:
        super().__init__()
        self._node = server.node
        self._names = frozenset(names)

    async def opening(self, link: Link) -> None:
        await super().opening(link)
        await self.subscribe(link)

    async def subscribe(self, link: Link) -> None:
        request = Subscribe(
            target=Target(actor_id=link.actor_id),
            names=self._names,
            connection=link.connection_id,
            window_bytes=10_000,
        )
        await self._node.subscribe(request, self)

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        event = delivery.event
        args = payload.decode(event.args.data, event.args.encoding)
        self.heard.append(f"{event.name} {args[0]}")

    def moved(self, subscription: Subscription) -> None: ...

    def ended(self, subscription: Subscription, error: HoldfastError) -> None:
        self.heard.append(f"ended: {error.group}.{error.code}")


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry))[0]


async def come(server: Server, name: str, *names: str, **params: Any) -> ListeningPeer:
    peer = ListeningPeer(server, *names)
    await attach(server, "lounge", "a", params={"name": name, **params}, peer=peer)
    return peer


async def test_a_subscription_that_comes_with_the_connection_hears_on_connect(
    server: Server, stage: Stage
) -> None:
    ada = await come(server, "ada")
    assert stage.log == ["asked ada"]
    await until(lambda: "joined ada" in ada.heard)
    assert ada.heard == ["opening", "connected", ("welcome",), "joined ada"]
    await come(server, "bob")
    await until(lambda: "joined bob" in ada.heard)


async def test_an_event_that_is_forbidden_rejects_the_connection(
    server: Server, stage: Stage
) -> None:
    ada = await come(server, "ada")
    assert await rejected(come(server, "eve", "joined")) == "events.subscription_forbidden"
    eve = await come(server, "eve", "left")
    await eve.open_link.disconnect("")
    await until(lambda: "left eve" in ada.heard)
    assert ada.heard.count("joined eve") == 1


async def test_a_rejected_connection_hears_nothing_more(server: Server) -> None:
    peer = ListeningPeer(server)
    params = {"name": "ada", "connect": "user"}
    assert await rejected(attach(server, "lounge", "a", params=params, peer=peer)) == "user.refused"
    await come(server, "bob")
    assert peer.heard == ["opening", "ended: user.refused"]


async def test_subscriptions_end_with_their_connection_after_the_events_of_its_last_turn(
    server: Server,
) -> None:
    ada = await come(server, "ada", "left")
    await call_on(server, ada, "leave")
    assert ada.heard[3:] == ["left bye", "ended: connection.closed", "closed"]
    with pytest.raises(HoldfastError) as caught:
        await ada.subscribe(ada.open_link)
    assert caught.value.reason.reason == "CONNECTION_NOT_FOUND"


async def test_a_destroyed_actor_ends_both_and_the_last_events_arrive(server: Server) -> None:
    ada = await come(server, "ada", "left")
    await call_on(server, ada, "end")
    assert ada.heard[3:] == ["left ada", "ended: actor.destroyed", "closed: actor.destroyed"]
