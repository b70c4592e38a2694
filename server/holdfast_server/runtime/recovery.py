"""Brings a failed store back: closed, and opened again under a new epoch.

While the first try is under way, calls wait for it, since most failures pass at
once. After a failed try they are refused with STORE_UNAVAILABLE until one
succeeds. Of the tries of one outage the first is logged, then one in a while;
outages that follow each other and pass at once are one of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.store.trouble import explain

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.node")

_LOG_S = 30.0


class Recovery:
    """The state of the store of one node. `on_change` hears each new `reason`."""

    def __init__(self, node: Node, on_change: Callable[[str], None]) -> None:
        self._node = node
        self._on_change = on_change
        self._first_try: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._logged = ""
        self._logged_at = float("-inf")
        # Whether this outage was logged, and how often it was tried to end it.
        self._said = False
        self.tries = 0
        # Why the store cannot be used, for people; empty while it can.
        self.reason = ""

    def failed(self, cause: BaseException) -> None:
        """The store failed: forget what is in memory and open it again."""
        node = self._node
        self._say(cause)
        node.tally.store_failures += 1
        node.raw.fail()
        node.catalog.drop_all()
        self._first_try = node.loop.create_future()
        self._task = node.loop.create_task(self._recover())

    async def ready(self) -> None:
        """Wait for a first try under way; STORE_UNAVAILABLE while the store is failed."""
        if self._first_try is not None:
            await asyncio.wait([self._first_try], timeout=self._node.limits.store_wait_s)
        if self.reason:
            raise HoldfastError(errors.STORE_UNAVAILABLE, f"{self.reason}; nothing ran")

    async def _recover(self) -> None:
        node = self._node
        while not node.closed:
            reopened = await self._try()
            self._end_first_try()
            if reopened:
                node.audiences.restart()
                node.outbox.restart()
                node.links.restart()
                node.raw.restart()
                node.timers.restart()
                return
            await asyncio.sleep(node.limits.store_reopen_s)

    async def _try(self) -> bool:
        node = self._node
        self.tries += 1
        try:
            # Replaying the log takes its time; the loop goes on answering. The one
            # committer thread has ended any sync before it comes to this.
            await asyncio.wrap_future(node.environment.threads.sync(self._reopen))
        except Exception as error:
            self._say(error)
            return False
        node.committer.reopened(node.store.epoch)
        self._set("")
        if self._said:
            log.warning("the store is open again after %d tries", self.tries)
        self.tries, self._said = 0, False
        return True

    def _reopen(self) -> None:
        self._node.store.reopen()

    def _say(self, cause: BaseException) -> None:
        now = self._node.loop.time()
        reason = explain(cause)
        self._set(reason)
        lasts = self.tries > 1 and not self._said
        if lasts or reason != self._logged or now >= self._logged_at + _LOG_S:
            self._logged, self._logged_at, self._said = reason, now, True
            log.error("the store is unavailable: %s (%s)", reason, cause)

    def _set(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self._on_change(reason)

    def _end_first_try(self) -> None:
        first, self._first_try = self._first_try, None
        if first is not None:
            first.set_result(None)
