"""A call as the runtime sees it: whom, what, until when, under which key."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from holdfast_server.core.auth import Identity
from holdfast_server.core.ids import Address
from holdfast_server.core.trace import NO_TRACE, TraceContext
from holdfast_server.core.values import Durability, Value


class ClientKey(NamedTuple):
    """The number an SDK gave to a call; see ClientSequence in the protos."""

    client_id: bytes
    number: int
    acknowledged_below: int


class UserKey(NamedTuple):
    """A key of the caller's own; `caller` is 16 bytes for who that is."""

    caller: bytes
    key: str


CallKey = ClientKey | UserKey


@dataclass(slots=True, kw_only=True)
class Target:
    """Whom a call is for: an address, or an id in a namespace (None: in whichever it is);
    created first if asked."""

    address: Address | None = None
    actor_id: bytes | None = None
    namespace: str | None = "default"
    create: bool = False
    input: Value | None = None


@dataclass(slots=True, kw_only=True)
class Call:
    """One request to run an action. `deadline` is in the loop's time."""

    target: Target
    action: str
    args: Value | None = None
    kwargs: Value | None = None
    accept: int = 0
    key: CallKey | None = None
    deadline: float | None = None
    trace: TraceContext = NO_TRACE
    # The outbox row this call delivers: sender id and number.
    sent: tuple[bytes, int] | None = None
    # The fire (opaque to the core) of a schedule that this call is.
    fire: object | None = field(default=None, repr=False)
    # The connection this call is made on (16 bytes), or the parameters of the one that it is.
    connection: bytes | None = None
    params: Value | None = None
    # Who asks for it from outside; None for actors and timers of the server.
    auth: Identity | None = field(default=None, repr=False)
    # The turn (opaque to the core) that waits for this call, and the activation whose code
    # makes it, also where that has no turn.
    origin: object | None = field(default=None, repr=False)
    caller: object | None = field(default=None, repr=False)

    @property
    def has_client(self) -> bool:
        """Whether somebody called: not the outbox, and no timer."""
        return self.sent is None and self.fire is None

    @property
    def result_encoding(self) -> int:
        if self.accept:
            return self.accept
        return self.args.encoding if self.args is not None else 1

    def fingerprint(self) -> bytes:
        """16 bytes that are equal for the same action with the same arguments."""
        args, kwargs = self.args, self.kwargs
        if kwargs is None:
            # What nearly every call has, in one step.
            if args is None:
                plain = b"%s\0--" % self.action.encode()
            else:
                encoding, data = args
                plain = b"%s\0%d:%d:%s-" % (self.action.encode(), encoding, len(data), data)
            return blake2b(plain, digest_size=16).digest()
        said = b"%s\0%s%s" % (
            self.action.encode(),
            b"-" if args is None else b"%d:%d:%s" % (args.encoding, len(args.data), args.data),
            b"-" if kwargs is None else b"%d:%s" % (kwargs.encoding, kwargs.data),
        )
        return blake2b(said, digest_size=16).digest()


@dataclass(slots=True)
class Answer:
    """What a call returned."""

    value: Value
    durability: Durability
    actor_id: bytes
    replayed: bool = False
