"""Clients that work while the server dies, and go on when it is there again.

Each worker does one operation after another and records it in the history. A
worker that uses the SDK leaves retries to it; the raw one keeps its requests
and sends every one of them again in the end. Workers end a few operations after
the server was started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from holdfast import ActorError, Client
from tests.crash.actors import Ledger
from tests.crash.history import History, Operation
from tests.crash.raw import RawWorker

LEDGERS = ("a", "b", "c")
BUFFERED = "notes"
CHURNED = "churn"
# Operations of a worker after the restart.
AFTER = 6


class Phase:
    """Whether the workers go on."""

    def __init__(self) -> None:
        self.restarted = asyncio.Event()

    async def work(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do `step` until the server is there again, and a few times more."""
        left = AFTER
        while left:
            if self.restarted.is_set():
                left -= 1
            await step()


class Load:
    """All workers of one test over one client."""

    def __init__(self, address: str, history: History, rng: Random, *, twice: int = 30) -> None:
        self.client = Client(address, timeout=30.0)
        self.raw = RawWorker(address, history, Random(rng.random()), LEDGERS, twice=twice)
        self._steps = Steps(self.client, history, rng)
        self._churn = Churn(self.client, history, Random(rng.random()))
        self._phase = Phase()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        do = self._steps
        steps = [do.steady, do.steady, do.steady, do.stream, do.note, do.later]
        loops = [self._phase.work(step) for step in (*steps, self._churn.step, self.raw.step)]
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def finish(self) -> None:
        """The server is there again: let every worker come to its end."""
        self._phase.restarted.set()
        for done in asyncio.as_completed(self._tasks):
            await done

    async def again(self) -> None:
        """Try every call that was under a kept key once more."""
        await self._steps.again()
        await self.raw.again()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()
        await self.raw.close()


class Steps:
    """What workers do over a client of the SDK."""

    def __init__(self, client: Client, history: History, rng: Random) -> None:
        self.client = client
        self._history = history
        self._rng = rng
        # Calls under a key of the caller's own, to be tried again in the end.
        self._keyed: list[tuple[Operation, str]] = []

    async def again(self) -> None:
        """Try every call that was under a kept key once more."""
        for operation, key in self._keyed:
            await self._call(operation, key)

    async def steady(self) -> None:
        rng, history = self._rng, self._history
        ledger = rng.choice(LEDGERS)
        if rng.random() < 0.15:
            position, entry = await self.client.get_or_create(Ledger, [ledger]).last()
            history.read(ledger, position, entry)
            return
        targets = rng.choices(LEDGERS, k=rng.randint(1, 3))
        action = rng.choice(("add", "add", "add", "tell", "tell", "refuse", "halves"))
        operation = begin(history, ledger, action, targets)
        key = f"own-{operation.tag}" if rng.random() < 0.3 else None
        if key is not None:
            self._keyed.append((operation, key))
        await self._call(operation, key)

    async def _call(self, operation: Operation, key: str | None) -> None:
        handle = self.client.get_or_create(Ledger, [operation.ledger])
        call: Any = handle.with_options(idempotency_key=key) if key else handle
        more = [list(operation.targets)] if operation.action != "add" else []
        stored = True
        try:
            position = await call.action(operation.action, operation.tag, *more)
        except ActorError as error:
            stored = self._history.fail(operation, error)
            answer = f"{error.group}.{error.code}: {error.message} {error.metadata}"
        else:
            self._history.acknowledge(operation, position)
            answer = str(position)
        if key is not None and stored:
            self._history.answer(operation, answer.encode())

    async def stream(self) -> None:
        parts = self._rng.randint(2, 4)
        ledger = self._rng.choice(LEDGERS)
        operation = self._history.begin(ledger, "count", parts=parts)
        items = self.client.get_or_create(Ledger, [ledger]).count(operation.tag, parts)
        part = 0
        try:
            async for position in items:
                part += 1
                self._history.see(operation, position, part)
        except ActorError as error:
            if not error.retryable:
                self._history.fail(operation, error)
        else:
            self._history.acknowledge(operation, position)

    async def later(self) -> None:
        """Write an entry by a timer."""
        ledger = self._rng.choice(LEDGERS)
        operation = self._history.begin(ledger, "later")
        delay = self._rng.choice((0.0, 0.02))
        await self.client.get_or_create(Ledger, [ledger]).later(delay, "add", operation.tag)
        self._history.promise(operation)

    async def note(self) -> None:
        operation = self._history.begin(BUFFERED, "note", buffered=True)
        position = await self.client.get_or_create(Ledger, [BUFFERED]).note(operation.tag)
        self._history.acknowledge(operation, position)


class Churn:
    """Creates, fills and destroys one ledger, and always knows what is in it."""

    def __init__(self, client: Client, history: History, rng: Random) -> None:
        self._client = client
        self._history = history
        self._rng = rng
        self._entries: int | None = None

    async def step(self) -> None:
        try:
            await self._step()
        except ActorError as error:
            self._history.violate(f"{CHURNED} with {self._entries} entries: {error}")
            self._entries = None

    async def _step(self) -> None:
        client, history = self._client, self._history
        handle = client.get(Ledger, [CHURNED])
        if self._entries is None:
            await client.create(Ledger, [CHURNED])
            self._entries = 0
            return
        choice = self._rng.randrange(4)
        if choice == 0:
            await client.destroy(Ledger, [CHURNED])
            self._entries = None
            return
        target = self._rng.choice(LEDGERS)
        action = "farewell" if choice == 1 else "add"
        targets = [target] if choice == 1 else []
        operation = history.begin(CHURNED, action, targets=targets)
        position = await handle.action(action, operation.tag, *targets)
        history.acknowledge(operation, position)
        if position != self._entries + 1:
            history.violate(f"{operation} is at {position} after {self._entries} entries")
        self._entries = None if choice == 1 else position


def begin(history: History, ledger: str, action: str, targets: list[str]) -> Operation:
    """Begin an operation of the kind that a random choice has named."""
    return history.begin(
        ledger,
        action,
        parts=2 if action == "halves" else 1,
        targets=() if action == "add" else targets,
    )
