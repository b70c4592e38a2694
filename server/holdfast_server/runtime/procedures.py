"""RPCs for a front that is not gRPC's: the very handlers that gRPC has, called with messages.

`rpc` implements this and the gateway uses it, so that neither knows the other, and what an RPC
means is written once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from holdfast_server.core.errors import HoldfastError

# Names in lower case; those that end in -bin have bytes.
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and with what.

    `deadline` is in the loop's time, `peer` an address as gRPC writes it, `certificate` what
    gRPC would tell of the client's: its properties by their names, empty without one.
    """

    metadata: Metadata = ()
    deadline: float | None = None
    peer: str = ""
    certificate: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


class RpcFailed(Exception):
    """How an RPC has failed: the name of a canonical status, a text, details of
    `google.rpc.Status` (each a `google.protobuf.Any`), and trailing metadata."""

    def __init__(
        self, status: str, message: str, details: Sequence[Any], trailing: Metadata = ()
    ) -> None:
        self.status = status
        self.message = message
        self.details = details
        self.trailing = trailing
        super().__init__(f"{status}: {message}")


class Procedure(NamedTuple):
    """One RPC: its path `/package.Service/Method`, and what is known of it."""

    path: str
    method: MethodDescriptor
    request: type[Message]
    # Whether it has no side effects, by what its proto says.
    reads: bool


class RpcCall(Protocol):
    """One call, which fails with RpcFailed."""

    async def answer(self, request: Message) -> Message:
        """The response of a unary RPC."""
        ...

    def items(self, request: Message) -> AsyncGenerator[Message, None]:
        """The responses of one that streams them."""
        ...

    @property
    def trailing(self) -> Metadata:
        """What the handler has to say beside its responses, when it has ended."""
        ...


class Procedures(Protocol):
    """The RPCs of one server."""

    @property
    def message_bytes_max(self) -> int:
        """The size of a message, serialized."""
        ...

    @property
    def all(self) -> Sequence[Procedure]:
        """Every RPC, ordered by path."""
        ...

    def find(self, path: str) -> Procedure | None:
        """The RPC of a path."""
        ...

    async def begin(self, procedure: Procedure, caller: Caller) -> RpcCall:
        """A call whose caller is known to be admitted, else RpcFailed; before its request is
        read."""
        ...

    def failure_of(self, error: HoldfastError) -> RpcFailed:
        """What a caller is told of a failure before anything of the request was run."""
        ...
