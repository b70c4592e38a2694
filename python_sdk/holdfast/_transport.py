"""What a client needs from whatever carries its calls.

The client decides what to call and how values are encoded; a transport brings
encoded bytes to an actor and back. Over a network that is `_grpc.py`; actors
are given one of their own server, in the same process. A transport makes every
mutating call safe to retry: with `Call.idempotency_key` if the caller set one,
else with a key of its own that stays the same for all tries of one call.
Every method raises `ActorError` for whatever fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol


class Encoded(NamedTuple):
    """One encoded value; `encoding` is that of holdfast.v1.PayloadEncoding."""

    encoding: int
    data: bytes


# Made for every call, so not frozen: that would cost more than the fields. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class Target:
    """One actor: by `actor_id`, or else by `name` and `key`.

    With `create` it is created from `input` when it is missing.
    """

    actor_id: str | None = None
    name: str = ""
    key: tuple[str, ...] = ()
    create: bool = False
    input: Encoded | None = None
    # As the wire has it; made when first sent, since a handle is called again and again.
    wire: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of an action. `timeout` is in seconds; None waits forever. `params` are
    those of the connection that a call without one has for its own length."""

    namespace: str
    target: Target
    action: str
    args: Encoded | None = None
    kwargs: Encoded | None = None
    accept: int = 0
    idempotency_key: str | None = None
    timeout: float | None = None
    params: Encoded | None = None


class Cursor(NamedTuple):
    """A place in the events of an actor: everything through `sequence` is behind it."""

    actor_id: str
    incarnation: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A request for the events of an actor; `names` is empty for all.

    `slow_reader` is a number of holdfast.v1.SlowReader.
    """

    namespace: str
    target: Target
    names: tuple[str, ...] = ()
    encoding: int = 0
    slow_reader: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A request for a connection to an actor. `timeout` is that of one opening."""

    namespace: str
    target: Target
    encoding: int = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A request that creates, finds or destroys the actor `target`."""

    namespace: str
    target: Target
    idempotency_key: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """One page of the actors of `name` whose key begins with `key_prefix`."""

    namespace: str
    name: str
    key_prefix: tuple[str, ...] = ()
    page_size: int = 0
    page_token: str = ""
    timeout: float | None = None


class Reply(NamedTuple):
    """The answer to a call; `result` is None when the action returned nothing."""

    result: Encoded | None
    actor_id: str
    durability: int = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """One actor as the server knows it."""

    actor_id: str
    name: str
    key: tuple[str, ...]
    namespace: str
    created_at: datetime | None = None


class Transport(Protocol):
    """Carries calls to actors; see the module's docstring."""

    async def invoke(self, call: Call) -> Reply:
        """Run an action and return its result."""
        ...

    def stream(self, call: Call) -> AsyncIterator[Encoded]:
        """Run a streaming action; closing the iterator cancels it."""
        ...

    async def create(self, request: Lifecycle) -> ActorInfo:
        """Create an actor; `actor.duplicate_key` when there is one."""
        ...

    async def get_or_create(self, request: Lifecycle) -> tuple[ActorInfo, bool]:
        """The actor, and whether this request created it."""
        ...

    async def get(self, request: Lifecycle) -> ActorInfo:
        """The actor; `actor.not_found` when there is none."""
        ...

    async def list_actors(self, query: ListQuery) -> tuple[list[ActorInfo], str]:
        """A page of actors and the token of the next, empty on the last."""
        ...

    async def destroy(self, request: Lifecycle) -> str:
        """Destroy an actor; returns its id."""
        ...

    async def close(self) -> None:
        """Let go of whatever the transport holds; it is not used again."""
        ...


__all__ = [
    "ActorInfo",
    "Call",
    "Connect",
    "Cursor",
    "Encoded",
    "Lifecycle",
    "ListQuery",
    "Reply",
    "Subscribe",
    "Target",
    "Transport",
]
