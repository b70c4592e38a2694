"""A streaming action in this process: its async generator, one step a turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdfast.context import Context
from holdfast.registry import ActionSpec
from holdfast_server.core.call import Call
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Value
from holdfast_server.runtime.runners.local.arguments import bind, encode
from holdfast_server.runtime.runners.local.current import enter_turn, leave_turn
from holdfast_server.runtime.runners.local.failure import ended_from_outside, outward
from holdfast_server.runtime.runners.local.host import LocalHost
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.runners.local.instance import LocalInstance


class LocalStream:
    """StreamRun over an async generator."""

    __slots__ = ("_call", "_host", "_instance", "_items", "_spec", "_touched")

    def __init__(self, instance: LocalInstance, spec: ActionSpec, call: Call) -> None:
        self._instance = instance
        self._spec = spec
        self._call = call
        self._host = LocalHost(instance, None)
        # Whether an earlier step used the state: the handler may have kept it.
        self._touched = False
        args, kwargs = bind(spec, call)
        context: Context[Any, Any] = Context(self._host)
        self._items = spec.function(instance.actor, context, *args, **kwargs)

    async def step(self, turn: Turn) -> Value | None:
        self._host.current = turn
        turn.task = asyncio.current_task(self._instance.activation.node.loop)
        turn.touched = self._touched and turn.mode is not Mode.READ_ONLY
        token = enter_turn(turn)
        try:
            item = await anext(self._items)
            return encode(self._spec, item, self._call)
        except StopAsyncIteration:
            return None
        except BaseException as error:
            if ended_from_outside(error):
                raise
            raise self._outward(error) from error
        finally:
            self._touched = self._touched or turn.touched
            leave_turn(token)

    async def close(self, turn: Turn | None) -> None:
        self._host.current = turn
        if turn is None:
            try:
                await self._items.aclose()
            except BaseException as error:
                if ended_from_outside(error):
                    raise
                # There is no turn left that it could fail.
                self._outward(error)
            return
        turn.task = asyncio.current_task(self._instance.activation.node.loop)
        turn.touched = self._touched and turn.mode is not Mode.READ_ONLY
        token = enter_turn(turn)
        try:
            await self._items.aclose()
        except BaseException as error:
            if ended_from_outside(error):
                raise
            raise self._outward(error) from error
        finally:
            leave_turn(token)

    @property
    def ended(self) -> bool:
        return self._items.ag_frame is None

    def _outward(self, error: BaseException) -> Exception:
        instance = self._instance
        return outward(error, f"action {self._call.action}", instance.activation.address)
