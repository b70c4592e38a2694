"""What stands at the other end of the in-process channel: one server, or none."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from holdfast.testing._loop import Domain
from holdfast.testing.faults import Faults
from holdfast.v1 import actor_pb2, actor_service_pb2
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, parse_actor_id
from holdfast_server.rpc.direct import Handlers
from holdfast_server.runtime.node import Node

pb = actor_service_pb2

_ACTOR_SERVICE = f"/{pb.DESCRIPTOR.services_by_name['ActorService'].full_name}/"
# Requests that are for one actor, and what they do to it.
_REQUESTS: dict[str, tuple[type[Any], str]] = {
    "InvokeAction": (pb.InvokeActionRequest, ""),
    "StreamAction": (pb.StreamActionRequest, ""),
    "CreateActor": (pb.CreateActorRequest, "$create"),
    "GetOrCreateActor": (pb.GetOrCreateActorRequest, "$get_or_create"),
    "DestroyActor": (pb.DestroyActorRequest, "$destroy"),
}


class Ending(Protocol):
    """An RPC in progress."""

    def end(self, error: Any, cancel: bool = False) -> None: ...


class Server:
    """One life of the server, as the channel sees it."""

    def __init__(
        self, node: Node, handlers: Handlers, domain: Domain, message_bytes_max: int
    ) -> None:
        self.node = node
        self.handler = handlers.find
        self.domain = domain
        self.message_bytes_max = message_bytes_max
        self.rpcs: dict[int, Ending] = {}


class Subject(NamedTuple):
    """What a call is for, as faults name it."""

    name: str
    key: tuple[str, ...]
    action: str


class Wire:
    """The server that runs now, and the faults of the way to it."""

    def __init__(self, faults: Faults) -> None:
        self.server: Server | None = None
        self._faults = faults

    def take(self, kind: str, method: str, data: bytes) -> bool:
        """Whether a fault of this kind happens to this request."""
        if not self._faults.any_of(kind):
            return False
        return self.hits(kind, self._subject(method, data))

    def hits(self, kind: str, subject: Subject) -> bool:
        """Whether a fault of this kind happens to this call."""
        return subject.action != "" and self._faults.take(kind, *subject) is not None

    def _subject(self, method: str, data: bytes) -> Subject:
        """Actor and action of a request; no action for one that is for no actor."""
        found = _REQUESTS.get(method.removeprefix(_ACTOR_SERVICE))
        if found is None or not method.startswith(_ACTOR_SERVICE):
            return Subject("", (), "")
        request = found[0].FromString(data)
        action = found[1] or request.action
        if not hasattr(request, "target"):
            return Subject(request.actor.name, tuple(request.actor.key), action)
        return Subject(*self.target(request.namespace, request.target), action)

    def target(self, namespace: str, target: actor_pb2.ActorTarget) -> tuple[str, tuple[str, ...]]:
        """Name and key of the actor that a request names."""
        which = target.WhichOneof("target")
        if which != "actor_id":
            actor = target.get if which == "get" else target.get_or_create
            return actor.name, tuple(actor.key)
        address = self._address(namespace, target.actor_id)
        return ("", ()) if address is None else (address.name, address.key)

    def _address(self, namespace: str, actor_id: str) -> Address | None:
        if self.server is None:
            return None
        try:
            target = Target(actor_id=parse_actor_id(actor_id), namespace=namespace or "default")
            return self.server.node.catalog.address_of(target)
        except HoldfastError:
            return None
