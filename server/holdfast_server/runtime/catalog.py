"""The live activations: found by address, evicted when idle or too many.

An activation is held while a call uses it. The others stand in a line: the sweep
drops those that have been idle for long enough and puts the rest back at its end;
where room is needed at once, the longest idle of the next few goes.
"""

from __future__ import annotations

from itertools import islice
from sys import intern
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.runtime.activation import Activation
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

_SWEEP_S = 1.0
_SWEEP_MAX = 2000
# How many idle ones are compared to make room: all in a small catalog, and in a large
# one enough that what is in use now and again is hardly ever the one to go.
_COMPARED_MAX = 16


class Catalog:
    """Addresses and their activations, in the order in which they are looked at."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # A dict is in the order of insertion too, and costs much less than an OrderedDict.
        self._by_address: dict[Address, Activation] = {}
        self._by_scope: dict[bytes, Activation] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def start(self) -> None:
        self._node.loop.call_later(_SWEEP_S, self._sweep)

    def address_of(self, target: Target, *, keyed: bool = False) -> Address:
        """The address of a target; ACTOR_NOT_FOUND for an unknown id. A `keyed` call
        also finds where an actor was that is no more: its reply may be there."""
        if target.address is not None:
            self._node.runner.info(target.address.name)
            return target.address
        assert target.actor_id is not None
        record = self._node.decode(records.ActorRecord, keys.actor_key(target.actor_id))
        if record is None and keyed:
            record = self._node.decode(records.ActorRecord, keys.tombstone_key(target.actor_id))
        if record is None or record.namespace != target.namespace:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        self._node.runner.info(record.name)
        return Address(record.namespace, record.name, tuple(record.key))

    def resolve(self, target: Target, *, keyed: bool) -> Activation:
        """The activation for a target, made if there is none in memory."""
        address = self.address_of(target, keyed=keyed)
        activation = self._by_address.get(address)
        if activation is None:
            info = self._node.runner.info(address.name)
            # Names come with each request as new strings: remember one copy.
            address = Address(intern(address.namespace), info.name, address.key)
            if len(self._by_address) >= self._node.limits.activations_max:
                self._make_room()
                if len(self._by_address) >= self._node.limits.activations_max:
                    raise HoldfastError(errors.SERVER_OVERLOADED)
            activation = Activation(self._node, address, scope_of(address), info)
            self._by_address[address] = activation
            self._by_scope[activation.scope] = activation
        return activation

    def find_scope(self, scope: bytes) -> Activation | None:
        return self._by_scope.get(scope)

    def use(self, target: Target, *, keyed: bool) -> Activation:
        """The activation for a target, kept in memory until it is `left`."""
        activation = self.resolve(target, keyed=keyed)
        activation.users += 1
        return activation

    def leave(self, activation: Activation) -> None:
        """One call less refers to it."""
        activation.users -= 1
        if activation.users:
            return
        activation.last_used = self._node.loop.time()
        if not activation.actor_id:
            replies = activation.replies
            if replies is None or not replies.rows:
                # Nobody lives there and nothing is remembered: a caller's guess.
                self._remove(activation)

    def evict(self, address: Address) -> bool:
        """Put an idle actor out of memory now; False when it is busy."""
        activation = self._by_address.get(address)
        if activation is not None and activation.users:
            return False
        if activation is not None:
            self._remove(activation)
        return True

    def drop_all(self) -> None:
        """Forget every activation: their memory may be ahead of the disk."""
        for activation in self._by_address.values():
            activation.dropped = True
        self._by_address.clear()
        self._by_scope.clear()

    def _sweep(self) -> None:
        if self._node.closed:
            return
        looked = min(_SWEEP_MAX, len(self._by_address))
        if self._evict(looked) == looked == _SWEEP_MAX:
            # A whole page was idle: there is more, and others want the loop too.
            self._node.loop.call_soon(self._sweep)
        else:
            self.start()

    def _evict(self, count: int) -> int:
        """Look at the first activations in line and drop those idle long enough;
        how many were dropped."""
        now, dropped = self._node.loop.time(), 0
        # One pass: to look for the first again and again would meet every removed one.
        for address, activation in list(islice(self._by_address.items(), count)):
            idle_s = now - activation.last_used
            if self._is_used(activation) or idle_s < activation.info.sleep_timeout_s:
                del self._by_address[address]
                self._by_address[address] = activation
                continue
            self._remove(activation)
            dropped += 1
        return dropped

    def _is_used(self, activation: Activation) -> bool:
        """Whether a call refers to it, or a client whose connection keeps it awake."""
        if activation.users:
            return True
        hibernates = activation.info.hibernate_connections
        return not hibernates and self._node.links.attached(activation.actor_id) > 0

    def _make_room(self) -> None:
        """Drop the longest idle of the next few that are idle, if any is."""
        idle: list[Activation] = []
        for address, activation in list(islice(self._by_address.items(), _SWEEP_MAX)):
            del self._by_address[address]
            self._by_address[address] = activation
            if not self._is_used(activation):
                idle.append(activation)
                if len(idle) == _COMPARED_MAX:
                    break
        if idle:
            self._remove(min(idle, key=lambda activation: activation.last_used))

    def _remove(self, activation: Activation) -> None:
        if not activation.dropped:
            activation.dropped = True
            del self._by_address[activation.address]
            del self._by_scope[activation.scope]
