"""Puts actors to sleep that have something to do before they leave memory.

The abort signal is set; on_sleep runs as a turn, behind the turns that wait
already; WebSockets that do not hibernate are closed; background work has
`sleep_grace_s` to end and is cancelled then; a last exclusive turn makes sure that
nobody else has the actor, which leaves memory. Calls that come meanwhile wait, and
wake it anew. Calls of the actor's own background code are let in, since the sleep
may be waiting for that code; once the actor has left memory they are refused.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.lifecycle import Event, State
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import NO_TRACE, Cause
from holdfast_server.core.waits import find_cycle
from holdfast_server.runtime.activation import Activation, call_cycle
from holdfast_server.runtime.background import Background, running_background
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.execution import fail, finish, origin_of
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.actor")

# The turn of on_sleep, and the last one of an activation, in which nothing runs.
SLEEP = "$sleep"
ASLEEP = "$asleep"

# Sleeps under way that nobody asked for: beyond, the idle wait for their turn.
BEGUN_MAX = 1000
# How long an on_sleep that was cancelled may take to clean up.
_CANCELLED_S = 1.0


class Sleeper:
    """The sleeps under way of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._under_way: dict[Activation, asyncio.Task[None]] = {}
        # Of the encoded states that leave memory with them.
        self.state_bytes = 0
        # The last work of actors that were destroyed.
        self._farewells: dict[asyncio.Task[None], Background] = {}
        # When a drain ends all of them, in the loop's time.
        self._ends: float | None = None

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def full(self) -> bool:
        """Whether no more should begin unasked."""
        return len(self._under_way) >= BEGUN_MAX

    def begin(self, activation: Activation) -> None:
        """Put an awake actor to sleep; nothing happens where it stops already."""
        background = activation.background_now()
        if not background.on(Event.SLEEP):
            return
        self.go_on(activation, background)

    def go_on(self, activation: Activation, background: Background) -> None:
        """An activation is in the state SLEEPING since now: do what that means."""
        # It must not leave memory in any other way meanwhile.
        activation.users += 1
        loop = self._node.loop
        background.asleep = loop.create_future()
        leaving = 0 if activation.instance is None else activation.instance.state_bytes
        self.state_bytes += leaving
        # It belongs to no call.
        self._under_way[activation] = loop.create_task(
            self._sleep(activation, background, leaving),
            context=self._node.environment.context(),
        )

    async def wait(self, activation: Activation, call: Call) -> None:
        """A call waits until the actor is asleep."""
        background, origin = activation.background, origin_of(call)
        assert background is not None
        assert background.asleep is not None
        if background.waiting >= activation.info.bounds.waiting:
            raise HoldfastError(errors.ACTOR_OVERLOADED)
        if origin is not None:
            chain = find_cycle(origin, str(activation.address), activation.holders)
            if chain is not None:
                raise call_cycle(chain)
            origin.call_begins(activation)
        background.waiting += 1
        try:
            async with Expiring(call.deadline):
                await asyncio.shield(background.asleep)
        finally:
            background.waiting -= 1
            if origin is not None:
                origin.call_ended(activation)

    def begin_idle(self, until: float) -> None:
        """A drain begins: put to sleep whoever has something to do before it; all is
        over at `until`, in the loop's time."""
        self._ends = until
        for activation in self._node.catalog.with_work():
            if not activation.users:
                self.begin(activation)

    async def drain(self, until: float) -> None:
        """Put all others to sleep too, also those that are woken meanwhile."""
        self._ends, loop = until, self._node.loop
        # What is cancelled at its own end still has its moment to clean up.
        ends = until + _CANCELLED_S
        while (left_s := ends - loop.time()) > 0:
            for activation in self._node.catalog.with_work():
                self.begin(activation)
            running = [*self._under_way.values(), *self._farewells]
            if not running:
                return
            await asyncio.wait(running, timeout=left_s)
        await self._give_up()

    async def _give_up(self) -> None:
        running = [*self._under_way.values(), *self._farewells]
        if not running:
            return
        log.warning("%d actors did not come to rest before the drain ended", len(running))
        stopping = [each.background for each in self._under_way]
        for background in (*stopping, *self._farewells.values()):
            if background is not None:
                background.lose()
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCELLED_S)

    def lets_in(self, activation: Activation, call: Call) -> bool:
        """Whether a call need not wait until the actor is asleep, as it goes nowhere."""
        background = activation.background
        if background is None or not background.sleeping:
            return True
        own = call.caller is activation or running_background() is background
        return own and call.sent is None

    def missed(self, activation: Activation, call: Call, error: HoldfastError) -> bool:
        """Whether nothing of `call` ran, since the actor fell asleep just before: it is
        for the next activation. Not what the actor's own code has asked for."""
        asleep = error.reason is errors.ACTOR_STOPPING and activation.dropped
        return asleep and call.caller is not activation

    def bid_farewell(self, background: Background) -> None:
        """An actor is deleted: its work has the grace time to end, and nobody waits."""
        if background.tasks:
            end = self._node.loop.create_task(
                self._farewell(background), context=self._node.environment.context()
            )
            self._farewells[end] = background
            end.add_done_callback(self._farewells.pop)

    async def _farewell(self, background: Background) -> None:
        await background.drain(self._grace_end())

    # One sleep

    async def _sleep(self, activation: Activation, background: Background, leaving: int) -> None:
        loop, until = self._node.loop, self._grace_end()
        timer = loop.call_at(until, background.cancel)
        try:
            ended = True
            if activation.info.has_on_sleep:
                until, ended = await self._on_sleep(activation, background)
            timer.cancel()
            ended = await self._drain_work(activation, background, until) and ended
            while ended and background.state is State.SLEEPING:
                if await self._last_turn(activation, background):
                    break
                ended = await self._drain_work(activation, background, until)
        except HoldfastError as error:
            log.warning("%s leaves memory: %s", activation.address, error)
        except Exception:
            log.exception("putting %s to sleep", activation.address)
        finally:
            timer.cancel()
            self.state_bytes -= leaving
            self._under_way.pop(activation, None)
            self._node.catalog.forget(activation)
            background.on(Event.ENDED)
            background.let_waiting_go()
            self._node.catalog.leave(activation)

    async def _on_sleep(self, activation: Activation, background: Background) -> tuple[float, bool]:
        """Run the hook within the grace time, which begins when the hook has the actor:
        when that ends, and whether the hook has ended."""
        loop = self._node.loop
        admitted = loop.create_future()
        context = self._node.environment.context()
        context.run(background.enter)
        hook = loop.create_task(self._hook(activation, admitted), context=context)
        try:
            await asyncio.wait([admitted, hook], return_when=asyncio.FIRST_COMPLETED)
            until = self._grace_end()
            await asyncio.wait([hook], timeout=max(0.0, until - loop.time()))
            if not hook.done():
                log.error("on_sleep of %s took too long and is cancelled", activation.address)
                hook.cancel()
                await asyncio.wait([hook], timeout=_CANCELLED_S)
            return until, hook.done()
        finally:
            hook.cancel()

    async def _hook(self, activation: Activation, admitted: asyncio.Future[None]) -> None:
        turn = Turn(activation, Mode.EXCLUSIVE, None, SLEEP, NO_TRACE, Cause.SPAWN)
        try:
            async with activation.holding(turn, None):
                admitted.set_result(None)
                instance = activation.instance
                if instance is None:
                    return
                turn.begin(instance, activation.actor_id)
                turn.deadline = self._grace_end()
                try:
                    await instance.on_sleep(turn)
                except BaseException as error:
                    fail(activation, turn, error)
                    raise
                await finish(activation, turn, None)
        except HoldfastError as error:
            log.error("on_sleep of %s: %s", activation.address, error)
        except Exception:
            log.exception("on_sleep of %s", activation.address)

    async def _drain_work(
        self, activation: Activation, background: Background, until: float
    ) -> bool:
        """Let what goes on beside turns end; whether it has."""
        self._node.raw.retire(activation)
        return await background.drain(until)

    async def _last_turn(self, activation: Activation, background: Background) -> bool:
        """Nobody else has the actor when it leaves memory; whether it has: the turns
        before this one may have begun more work."""
        turn = Turn(activation, Mode.EXCLUSIVE, None, ASLEEP, NO_TRACE, Cause.SPAWN)
        async with activation.holding(turn, None):
            if background.tasks:
                return False
            self._node.catalog.forget(activation)
        return True

    def _grace_end(self) -> float:
        end = self._node.loop.time() + self._node.limits.sleep_grace_s
        return end if self._ends is None else min(end, self._ends)
