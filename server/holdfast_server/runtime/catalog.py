"""The live activations: found by address, evicted when idle, too many or too large.

An activation is held while a call uses it. The others stand in a line: the sweep
drops those that have been idle for long enough and puts the rest back at its end;
where room is needed at once, the longest idle of the next few goes. Those that
have something to do before are put to sleep instead; until then they are more
than there is room for.
"""

from __future__ import annotations

from itertools import islice
from sys import intern
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, address_of, scope_of
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.environment import housekeeping
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

_SWEEP_S = 1.0
_SWEEP_MAX = 2000
# How many idle ones are compared to make room: all in a small catalog, and in a large
# one enough that what is in use now and again is hardly ever the one to go.
_COMPARED_MAX = 16
# What a state takes in memory, in bytes for each byte of its encoding: that is kept too,
# and its objects are several times as large.
_STATE_FACTOR = 4
# How many go at once when the states are too large together; others want the loop too.
_RELIEVED_MAX = 64
# Sleeps that one look at the line begins.
_BEGUN_MAX = 100


class Catalog:
    """Addresses and their activations, in the order in which they are looked at."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # A dict is in the order of insertion too, and costs much less than an OrderedDict.
        self._by_address: dict[Address, Activation] = {}
        self._by_scope: dict[bytes, Activation] = {}
        # Of the encoded states of all that are awake.
        self._state_bytes = 0
        self._relieving = False

    def __len__(self) -> int:
        return len(self._by_address)

    @property
    def state_bytes(self) -> int:
        """Of the encoded states of all that are awake."""
        return self._state_bytes

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
        if record is None or target.namespace not in (None, record.namespace):
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        self._node.runner.info(record.name)
        return address_of(record)

    def resolve(self, target: Target, *, keyed: bool) -> Activation:
        """The activation for a target, made if there is none in memory."""
        address = target.address
        if address is None or address not in self._by_address:
            address = self.address_of(target, keyed=keyed)
        activation = self._by_address.get(address)
        if activation is None:
            info = self._node.runner.info(address.name)
            # Names come with each request as new strings: remember one copy.
            address = Address(intern(address.namespace), info.name, address.key)
            if self._is_full():
                self._make_room()
                if self._is_full():
                    raise HoldfastError(errors.SERVER_OVERLOADED)
            activation = Activation(self._node, address, scope_of(address), info)
            self._by_address[address] = activation
            self._by_scope[activation.scope] = activation
            info.tally.loaded += 1
        return activation

    def find(self, address: Address | None) -> Activation | None:
        """The activation of an address, if it is in memory."""
        return None if address is None else self._by_address.get(address)

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
        activation.last_used = self._node.moment()
        # Each of very many idle actors would hold a number of its own.
        if activation.last_commit <= self._node.committer.synced:
            activation.last_commit = 0
        if not activation.actor_id:
            replies = activation.replies
            if replies is None or not replies.rows:
                # Nobody lives there and nothing is remembered: a caller's guess.
                self._remove(activation)

    def evict(self, address: Address) -> bool:
        """Put an idle actor out of memory now; False when it is busy, or has something
        to do before, which then begins."""
        activation = self._by_address.get(address)
        if activation is None:
            return True
        return not activation.users and self._put_out(activation)

    def forget(self, activation: Activation) -> None:
        """This activation is asleep."""
        self._remove(activation)

    def with_work(self) -> list[Activation]:
        """Those that have something to do before they leave memory."""
        return [each for each in self._by_address.values() if each.has_work]

    def drop_all(self) -> None:
        """Forget every activation: their memory may be ahead of the disk."""
        dropped = list(self._by_address.values())
        self._by_address.clear()
        self._by_scope.clear()
        self._state_bytes = 0
        for activation in dropped:
            activation.drop()
            activation.info.tally.left += 1
            if activation.background is not None:
                activation.background.lose()

    # Room

    def grew(self, activation: Activation, count: int) -> None:
        """The encoded state of an awake actor has `count` bytes more than before."""
        if activation.dropped:
            return
        self._state_bytes += count
        if count > 0 and self._is_heavy() and not self._relieving:
            # Not in the middle of the turn that was too much.
            self._relieving = True
            self._node.loop.call_soon(self._relieve)

    def _is_full(self) -> bool:
        asleep_soon = len(self._node.sleeper)
        return len(self._by_address) - asleep_soon >= self._node.limits.activations_max

    def _is_heavy(self) -> bool:
        staying = self._state_bytes - self._node.sleeper.state_bytes
        return staying * _STATE_FACTOR > self._node.limits.activations_bytes_max

    def _relieve(self) -> None:
        """Put the longest idle out of memory until the states fit again, or nobody is
        idle; then the next sweep tries again."""
        self._relieving = False
        for _ in range(_RELIEVED_MAX):
            if self._node.closed or not self._is_heavy() or not self._make_room():
                return
        self._relieving = True
        self._node.loop.call_soon(self._relieve)

    @housekeeping
    def _sweep(self) -> None:
        if self._node.closed:
            return
        if self.sweep():
            # A whole page was idle: there is more, and others want the loop too.
            self._node.loop.call_soon(self._sweep)
        else:
            self.start()

    def sweep(self) -> bool:
        """Look at the next in line, and put out of memory who was idle for long enough;
        whether all of these were, so that there may be more."""
        if self._is_heavy() and not self._relieving:
            self._relieve()
        looked = min(_SWEEP_MAX, len(self._by_address))
        out, begun = self._evict(looked)
        return begun >= _BEGUN_MAX or out == looked == _SWEEP_MAX

    def _evict(self, count: int) -> tuple[int, int]:
        """Look at the first activations in line and drop those idle long enough; how
        many were dropped, and how many begin to sleep."""
        now, dropped, begun = self._node.loop.time(), 0, 0
        # One pass: to look for the first again and again would meet every removed one.
        for address, activation in list(islice(self._by_address.items(), count)):
            if begun >= _BEGUN_MAX:
                break
            if (
                activation.users
                or now - activation.last_used < activation.info.sleep_timeout_s
                or activation.held_awake
            ):
                self._to_the_end(address, activation)
            elif self._put_out(activation):
                dropped += 1
            else:
                begun += not self._node.sleeper.full
        return dropped, begun

    def _make_room(self) -> bool:
        """Put out the longest idle of the next few that are idle, if any is."""
        idle: list[Activation] = []
        for address, activation in list(islice(self._by_address.items(), _SWEEP_MAX)):
            self._to_the_end(address, activation)
            if not activation.users and not activation.held_awake:
                idle.append(activation)
                if len(idle) == _COMPARED_MAX:
                    break
        if not idle:
            return False
        longest = min(idle, key=lambda activation: activation.last_used)
        return self._put_out(longest) or longest.users > 0

    def _put_out(self, activation: Activation) -> bool:
        """Put an idle activation out of memory, at once or, if it has something to do
        before, by and by; whether it is out."""
        if not activation.has_work:
            self._remove(activation)
            return True
        self._to_the_end(activation.address, activation)
        if not self._node.sleeper.full:
            self._node.sleeper.begin(activation)
        return False

    def _to_the_end(self, address: Address, activation: Activation) -> None:
        del self._by_address[address]
        self._by_address[address] = activation

    def _remove(self, activation: Activation) -> None:
        if not activation.dropped:
            activation.drop()
            activation.info.tally.left += 1
            del self._by_address[activation.address]
            del self._by_scope[activation.scope]
            if activation.instance is not None:
                self._state_bytes -= activation.instance.state_bytes
