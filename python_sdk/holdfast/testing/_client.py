"""The client of a harness: the SDK's own, whose calls run by the test clock.

Conversion, idempotency keys and retries are those of a client over a network, and so are
the server's checks; only the channel is another. Each call runs in a task of the
client's domain, so that its deadline and its backoff obey the clock, which moves by
itself as far as the awaited call needs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, NoReturn, Protocol, TypeVar, cast

from holdfast._grpc import GrpcTransport
from holdfast._retry import Backoff, Sequence
from holdfast.client import Client
from holdfast.testing.errors import HarnessError

R = TypeVar("R")


class Runs(Protocol):
    """A harness, for its client."""

    async def ready(self) -> Any:
        """Start the harness if it has not started; the channel to the server."""
        ...

    def draws(self) -> random.Random:
        """Random numbers for the client, once the harness has started."""
        ...

    def inside(self, run: Callable[..., R], *args: Any) -> R:
        """Run a plain function in the client's domain; the harness has started."""
        ...

    async def run(self, run: Callable[[], Coroutine[Any, Any, R]], what: str) -> R:
        """Run a coroutine in the client's domain, and move the clock as it needs."""
        ...


class ClockedTransport:
    """A GrpcTransport whose calls run in the client's domain."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._inner: GrpcTransport | None = None

    def stream(self, call: Any) -> AsyncIterator[Any]:
        return self._stream(call)

    def subscription(self, request: Any, feed: Any) -> Any:
        """What carries the events of an actor to a feed, by the test clock."""
        return _ClockedCarrier(self, request, feed)

    def connection(self, *_: Any) -> NoReturn:
        """There are none: a session is not carried by the harness's channel."""
        raise HarnessError("the client of a harness opens no connections to actors")

    def inside(self, run: Callable[..., R], *args: Any) -> R:
        """Run a plain function in the client's domain."""
        return self._runs.inside(run, *args)

    async def close(self) -> None:
        """The harness ends the server, and with it every call."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_") or not asyncio.iscoroutinefunction(
            getattr(GrpcTransport, name, None)
        ):
            raise AttributeError(name)

        async def run(*args: Any) -> Any:
            inner = await self.started()
            return await self._runs.run(lambda: getattr(inner, name)(*args), _what(name, args))

        return run

    async def _stream(self, call: Any) -> AsyncIterator[Any]:
        inner = await self.started()
        items = inner.stream(call)
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        try:
            while True:
                item = await self._runs.run(following, _what("stream", (call,)))
                if item is end:
                    return
                yield item
        finally:
            await self._runs.run(lambda: _close(items), "closing a stream")

    async def started(self) -> GrpcTransport:
        """The transport within; starts the harness when it has not started."""
        channel = await self._runs.ready()
        if self._inner is None:
            draws = self._runs.draws()
            self._inner = GrpcTransport(
                channel,
                sequence=Sequence(draws.randbytes(16)),
                backoff=lambda: Backoff(draws.random),
            )
        return self._inner


class _ClockedCarrier:
    """Carries a feed by the client's domain, once the harness has started."""

    def __init__(self, transport: ClockedTransport, request: Any, feed: Any) -> None:
        self._transport = transport
        self._request = request
        self._feed = feed
        self._carrier: Any = None
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        if self._carrier is not None:
            self._transport.inside(self._carrier.open)
        else:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    def close(self) -> None:
        """Unsubscribe."""
        if self._opening is not None:
            self._opening.cancel()
        if self._carrier is not None:
            self._transport.inside(self._carrier.close)

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        if self._carrier is not None:
            self._transport.inside(self._carrier.grant, count)

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        delay: float = 0.0 if self._carrier is None else self._carrier.pause()
        return delay

    async def _open(self) -> None:
        inner = await self._transport.started()
        self._opening = None
        self._carrier = self._transport.inside(inner.subscription, self._request, self._feed)
        self._transport.inside(self._carrier.open)


class HarnessClient(Client):
    """`h.client`: as `holdfast.Client`, of the server under test."""

    def __init__(
        self,
        transport: ClockedTransport,
        *,
        namespace: str = "default",
        timeout: float | None = 60.0,
        encoding: str | int = "msgpack",
    ) -> None:
        super().__init__(
            "unix:holdfast.testing", namespace=namespace, timeout=timeout, encoding=encoding
        )
        self._clocked = transport

    @property
    def transport(self) -> GrpcTransport:
        """What carries the calls of this client."""
        return cast(GrpcTransport, self._clocked)

    def __repr__(self) -> str:
        return f"<client of a test harness, namespace={self.namespace!r}>"


async def _close(items: Any) -> None:
    await items.aclose()


def _what(name: str, args: tuple[Any, ...]) -> str:
    """A call, for errors."""
    subject = args[0] if args else None
    target = getattr(subject, "target", None)
    if target is None:
        return f"{name}()"
    actor = target.actor_id or f"{target.name} {list(target.key)}"
    return f"{getattr(subject, 'action', name)} of {actor}"
