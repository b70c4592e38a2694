"""The client of a harness: the SDK's own, whose calls run by the test clock.

Conversion, idempotency keys and retries are those of a client over a network, and so are
the server's checks; only the channel is another. Each call runs in a task of the
client's domain, so that its deadline and its backoff obey the clock, which moves by
itself as far as the awaited call needs.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from holdfast._events import Decode
from holdfast._feed import Carrier
from holdfast._grpc import GrpcTransport
from holdfast._retry import Backoff, Sequence
from holdfast._session_transport import SessionTransport
from holdfast.client import Client
from holdfast.fetch import RawTransport
from holdfast.testing._connections import ClockedCarrier, ClockedCore, ClockedStream
from holdfast.testing._loop import current_domain
from holdfast.testing._raw import ClockedRaw

R = TypeVar("R")


class Runs(Protocol):
    """A harness, for its client."""

    @property
    def channel(self) -> Any:
        """The channel to the server; None before the harness has started."""
        ...

    def check(self) -> None:
        """Refuse a harness that has ended, or is another loop's."""
        ...

    async def ready(self) -> None:
        """Start the harness if it has not started."""
        ...

    async def raw(self) -> RawTransport:
        """What carries raw requests to the server; starts the harness as `ready` does."""
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
    """A transport whose calls run in the client's domain."""

    def __init__(self, runs: Runs) -> None:
        self.runs: Runs = runs
        self._inner: HarnessTransport | None = None

    def stream(self, call: Any) -> AsyncGenerator[Any, None]:
        return self._stream("stream", call)

    def iterate_on(self, call: Any, connection: Any) -> AsyncGenerator[Any, None]:
        """Run a streaming action on a connection."""
        return self._stream("iterate_on", call, connection)

    def connection_core(
        self, transport: Any, request: Any, params: Any, timeout: float | None, decode: Decode
    ) -> ClockedCore:
        """What is behind a connection."""
        self.runs.check()
        return ClockedCore(transport, request, params, timeout, decode)

    def connection(self, request: Any, peer: Any) -> ClockedStream:
        """A connection that is not yet open."""
        return ClockedStream(self, lambda inner: inner.connection(request, peer))

    def subscription(self, request: Any, feed: Any, connection: Any = None) -> ClockedCarrier:
        """What carries events to a feed, by the test clock."""
        if connection is None:
            return ClockedCarrier(self, lambda inner: inner.subscription(request, feed))
        return ClockedCarrier(
            self, lambda inner: inner.subscription(request, feed, connection.made())
        )

    def holds(self, namespace: str, stream: ClockedStream) -> bool:
        """Whether a connection is open, or will be."""
        if self.inner is None:
            return stream.begun
        return self.inner.holds(namespace, stream.made())

    def inside(self, run: Callable[..., R], *args: Any) -> R:
        """Run a plain function in the client's domain."""
        return self.runs.inside(run, *args)

    async def wait(self, run: Callable[[], Coroutine[Any, Any, R]], what: str) -> R:
        """The result of a coroutine of the client; the clock moves as it needs."""
        if current_domain() is not None:
            return await run()
        await self.started()
        return await self.runs.run(run, what)

    async def close(self) -> None:
        """The harness ends the server, and with it every call."""

    async def end(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            await self._inner.end_sessions()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_") or not _is_call(getattr(HarnessTransport, name, None)):
            raise AttributeError(name)

        async def run(*args: Any) -> Any:
            inner = await self.started()
            return await self.runs.run(lambda: getattr(inner, name)(*args), _what(name, args))

        return run

    async def _stream(self, name: str, *args: Any) -> AsyncGenerator[Any, None]:
        inner = await self.started()
        items = getattr(inner, name)(*args)
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        try:
            while True:
                item = await self.runs.run(following, _what(name, args))
                if item is end:
                    return
                yield item
        finally:
            await self.runs.run(lambda: _close(items), "closing a stream")

    @property
    def inner(self) -> HarnessTransport | None:
        """The transport within; None before the harness has started."""
        channel = self.runs.channel
        if self._inner is None and channel is not None:
            draws = self.runs.draws()
            self._inner = HarnessTransport(
                channel,
                sequence=Sequence(draws.randbytes(16)),
                backoff=lambda: Backoff(draws.random),
            )
        return self._inner

    async def started(self) -> HarnessTransport:
        """The transport within; starts the harness when it has not started."""
        await self.runs.ready()
        assert self.inner is not None
        return self.inner


class HarnessTransport(SessionTransport):
    """Connections have a session. Calls without one go as RPCs, which faults can hit one
    by one. Nothing vanishes unseen, so that nothing has to be asked whether it is there."""

    ping_s: float = math.inf

    def subscription(self, request: Any, feed: Any, connection: Any = None) -> Carrier:
        if connection is None:
            return GrpcTransport.subscription(self, request, feed)
        return super().subscription(request, feed, connection)

    def _beside(self, call: Any) -> bool:
        return True

    async def end_sessions(self) -> None:
        """Close the sessions, and with them their connections."""
        sessions = list(self._by_namespace.values())
        for session in sessions:
            session.close()
        for session in sessions:
            await session.closed()


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

    @property
    def _raw(self) -> RawTransport:
        """What carries raw requests and WebSockets."""
        return ClockedRaw(self._clocked.runs)

    def __repr__(self) -> str:
        return f"<client of a test harness, namespace={self.namespace!r}>"


async def _close(items: Any) -> None:
    await items.aclose()


def _is_call(function: Any) -> bool:
    """Whether a function of the transport is awaited: it is async, or gives what is."""
    gives = getattr(function, "__annotations__", {}).get("return", "")
    return asyncio.iscoroutinefunction(function) or str(gives).startswith("Coroutine[")


def _what(name: str, args: tuple[Any, ...]) -> str:
    """A call, for errors."""
    subject = args[0] if args else None
    target = getattr(subject, "target", None)
    if target is None:
        return f"{name}()"
    actor = target.actor_id or f"{target.name} {list(target.key)}"
    return f"{getattr(subject, 'action', name)} of {actor}"
