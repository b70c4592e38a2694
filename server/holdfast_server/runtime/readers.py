"""Who gets what leaves an actor: the two sides of a subscription and a connection.

A transport (a gRPC stream, a session, the gateway) implements Reader and Peer; the
runtime gives it Subscription and Link objects. All are called on the loop and never
wait. Whatever reaches a Reader or Peer is durable, unless it is ephemeral. Nothing is
sent beyond the credit that was granted, in bytes of `Event.size` or `Message.size`;
credit is positive before a delivery and may be negative after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast_server.core.errors import HoldfastError
    from holdfast_server.core.events import Cursor, Delivery, Message
    from holdfast_server.core.ids import Address


class Subscription(Protocol):
    """One subscriber of one actor, as a transport holds it."""

    @property
    def cursor(self) -> Cursor:
        """Everything through here was delivered, or is of no name asked for."""
        ...

    def grant(self, count: int) -> None:
        """The reader has taken `count` bytes: more may come, also at once."""
        ...

    def close(self) -> None:
        """The reader has gone; it hears nothing more."""
        ...


class Reader(Protocol):
    """The transport's side of a subscription."""

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        """An event, in the encoding asked for."""
        ...

    def moved(self, subscription: Subscription) -> None:
        """The cursor went on past many events of other names: worth telling."""
        ...

    def ended(self, subscription: Subscription, error: HoldfastError) -> None:
        """It is over: too slow, trimmed, destroyed, disconnected, draining."""
        ...


class Link(Protocol):
    """An open connection, as a transport holds it."""

    @property
    def connection_id(self) -> bytes: ...
    @property
    def actor_id(self) -> bytes: ...
    @property
    def address(self) -> Address: ...

    def grant(self, count: int) -> None:
        """The client has taken `count` bytes of messages."""
        ...

    def acknowledge(self, number: int) -> None:
        """The client has handled its messages through `number`."""
        ...

    def detach(self) -> None:
        """The transport has broken: keep the connection for its grace time."""
        ...

    async def disconnect(self, reason: str) -> None:
        """The client closes it: on_disconnect runs; returns when that is durable."""
        ...


class Peer(Protocol):
    """The transport's side of a connection."""

    async def opening(self, link: Link) -> None:
        """The client was let in, and on_connect is about to run; not for a resume.

        The initial subscriptions are made here, as `Subscribe.connection`, so that they
        get what on_connect broadcasts, and end with the connection. What this raises
        rejects the connection; it is cancelled at `Connect.deadline`.
        """
        ...

    def connected(self, link: Link) -> None:
        """It is open and durable: the first thing that the client hears of it."""
        ...

    def message(self, link: Link, message: Message) -> None:
        """A message, in the encoding asked for."""
        ...

    def closed(self, link: Link, error: HoldfastError | None, reason: str) -> None:
        """It is over: disconnected by the actor (no error), or for a failure."""
        ...
