"""Actions with nothing to wait for: run where they are asked for, without a task.

A call runs here when its actor is awake and idle, its key is new, and its handler never
waits. It is the turn of `execution.run_action`, made of the same parts, without what
only serves to wait: a task, coroutines in each other, and futures for the key and the
commit. That is a third of what a call costs a server (see `docs/performance.md`). Anything
else is left to `Node.invoke`, before anything has been done; what turns out to need time
after all, the end of an actor or of a failed turn, goes on in a task.

A call that runs here must not overtake one that still has to come to its actor's
mailbox: that is for whoever asks, who knows the order of what it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime.execution import effects_of, fail, finish, make_turn, settle
from holdfast_server.runtime.keyed import Claim, claim_now

if TYPE_CHECKING:
    from holdfast_server.core.tally import CallTally
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.runners.api import ActionInfo
    from holdfast_server.runtime.turn import Turn


# A member costs less by a name of its own (see `core.mailbox`).
_SYNCED: Final = Durability.SYNCED


class Asker(Protocol):
    """Who is told, once, how a call ended; on the loop, never from within `run`."""

    def answered(self, answer: Answer) -> None:
        """The call has returned, and what it did is durable."""
        ...

    def ended_with(self, error: BaseException) -> None:
        """The call has failed."""
        ...


class Direct:
    """Runs such calls; keeps the tasks of those that need time at their end."""

    __slots__ = ("_node", "_tasks")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, call: Call, asker: Asker) -> bool:
        """Run a call that is made on no connection; False when it has to wait for anything,
        and so has not begun."""
        node = self._node
        activation = node.begin_now(call)
        if activation is None:
            return False
        action = activation.info.find_action(call.action)
        if (
            action is not None
            and not action.waits
            and not any(activation.info.connect_hooks)
            and (call.deadline is None or call.deadline > node.loop.time())
        ):
            if call.key is None or action.read_only:
                _Run(self, activation, call, None, asker).begin(action)
                return True
            claim = claim_now(activation, call)
            if claim is not None:
                _Run(self, activation, call, claim, asker).begin(action)
                return True
        node.end(activation)
        return False

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """What is left of a call needs time."""
        task = self._node.loop.create_task(rest)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Run:
    """One such call, from its turn to its answer."""

    __slots__ = (
        "_activation",
        "_asker",
        "_began",
        "_call",
        "_claim",
        "_direct",
        "_tally",
        "_turn",
        "_value",
    )

    def __init__(
        self,
        direct: Direct,
        activation: Activation,
        call: Call,
        claim: Claim | None,
        asker: Asker,
    ) -> None:
        self._direct = direct
        self._activation = activation
        self._call = call
        self._claim = claim
        self._asker = asker
        self._began = activation.node.stopwatch()
        self._tally: CallTally
        self._turn: Turn
        self._value: Value

    def begin(self, action: ActionInfo) -> None:
        """The turn, from its handler to the commit, which is then under way."""
        activation, call, instance = self._activation, self._call, self._activation.instance
        assert instance is not None
        self._tally = action.tally
        turn = self._turn = make_turn(activation, call, action)
        # Nobody else can come while it runs, so that it has no need of the mailbox.
        activation.node.observer.turn_began(turn)
        turn.begin(instance, activation.actor_id, self._claim)
        turn.conn = call
        try:
            # What the handler sets in its context is its own, as in a task.
            value = copy_context().run(instance.invoke, turn, call)
            assert isinstance(value, Value)
        except BaseException as error:
            fail(activation, turn, error)
            self._failed(error)
            return
        self._value = value
        if turn.destroyed:
            activation.mailbox.offer(turn, turn.mode)
            self._direct.go_on(self._end_actor(action.buffered))
            return
        buffered = action.buffered
        try:
            batch = effects_of(activation, turn, value, buffered=buffered)
            if turn.leaves_more or buffered or not batch:
                activation.submit(batch, turn, self._told, buffered=buffered)
            else:
                activation.submit_plain(batch, turn, self._release)
        except BaseException as error:
            self._failed(error)
            return
        if turn.sleeps:
            activation.node.sleeper.begin(activation)
        self._end_turn()

    def _end_turn(self) -> None:
        self._turn.ended = True
        self._activation.node.observer.turn_ended(self._turn)

    async def _end_actor(self, buffered: bool) -> None:
        """The hooks of an actor that ends may wait, and its mailbox with them."""
        activation, turn = self._activation, self._turn
        try:
            durable = await finish(activation, turn, self._value, buffered=buffered)
        except BaseException as error:
            self._failed(error, held=True)
            return
        activation.release(turn, None)
        try:
            reached = await durable
        except BaseException as error:
            self._ended_with(error)
        else:
            self._told(reached, None)

    def _failed(self, error: BaseException, *, held: bool = False) -> None:
        activation, turn = self._activation, self._turn
        activation.failed(turn, error)
        if held:
            activation.release(turn, None)
        else:
            self._end_turn()
        self._direct.go_on(self._settle(error))

    async def _settle(self, error: BaseException) -> None:
        if isinstance(error, HoldfastError):
            try:
                await settle(self._activation, self._turn, error, self._claim)
            except HoldfastError as other:
                error = other
        self._ended_with(error)

    def _release(self, error: HoldfastError | None) -> None:
        self._told(_SYNCED, error)

    def _told(self, reached: Durability, error: HoldfastError | None) -> None:
        """What has become of the commit."""
        if error is not None:
            self._ended_with(error)
            return
        self._tally.durations.take(self._activation.node.stopwatch() - self._began)
        answer = Answer(self._value, reached, self._turn.actor_id)
        self._over(answer)
        self._asker.answered(answer)

    def _ended_with(self, error: BaseException) -> None:
        node = self._activation.node
        node.tally.failed(error, node.stopwatch() - self._began, self._tally)
        self._over(None)
        self._asker.ended_with(error)

    def _over(self, answer: Answer | None) -> None:
        if self._claim is not None:
            self._claim.end(answer)
        self._activation.node.end(self._activation)
