"""holdfast.v1.SessionService: opens sessions, keeps the open ones, and ends them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from holdfast.v1 import session_service_pb2 as pb
from holdfast.v1 import session_service_pb2_grpc
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.auth import token_of
from holdfast_server.rpc.guard import Context, abort, count
from holdfast_server.rpc.session.resume import TOKEN_BYTES, digest_of
from holdfast_server.rpc.session.session import Session, read_frame
from holdfast_server.rpc.session.shared import Shared
from holdfast_server.rpc.session.terms import Terms, check_hello, encoding_of

# How long a session that ends may take to say what it still has to say.
_FLUSH_S: Final = 2.0


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """The sessions of one process, by the digest of their resume tokens."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sessions: dict[bytes, Session] = {}
        # Streams that are open, also those that have not said hello.
        self._count = 0
        # By digest: until when the connections of a broken session are kept.
        self._broken: dict[bytes, float] = {}
        if shared.tokens is not None:
            shared.tokens.watch(self._recheck)

    @property
    def open(self) -> int:
        """Sessions that were welcomed and have not ended."""
        return len(self._sessions)

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers in all of them that wait for the transport."""
        return sum(session.outbox.size for session in self._sessions.values())

    # It reads and writes by the context, which the types of the generated code do not know.
    async def OpenSession(self, _: Any, context: Context) -> None:  # type: ignore[override]
        """One session, from its first frame to its last."""
        self._count += 1
        began = self._shared.calls.stopwatch()
        try:
            try:
                failure = await self._run(context)
            except asyncio.CancelledError:
                self._ended(began, HoldfastError(errors.CANCELLED))
                raise
            self._ended(began, failure)
            if failure is not None:
                # A client that takes nothing has it wait, and so counts until then.
                await abort(context, failure)
        finally:
            self._count -= 1

    def _ended(self, began: float, failure: Exception | None) -> None:
        """Count a session that is over."""
        count(self._shared.calls, "SessionService/OpenSession", began, failure)

    async def _run(self, context: Context) -> Exception | None:
        """Why the session ended; None when its client closed it."""
        task = asyncio.current_task(self._shared.node.loop)
        assert task is not None
        session: Session | None = None
        try:
            session, first = await self._open(context, task)
            await self._serve(session, first, context)
        except asyncio.CancelledError:
            if session is None or session.failure is None:
                raise
            task.uncancel()
            return session.failure
        except Exception as error:
            return error
        finally:
            if session is not None:
                self._leave(session)
        return None

    async def _open(
        self, context: Context, task: asyncio.Task[Any]
    ) -> tuple[Session, pb.OpenSessionRequest]:
        shared, limits = self._shared, self._shared.limits
        if shared.calls.draining:
            raise HoldfastError(errors.SERVER_DRAINING)
        if self._count > limits.sessions_max:
            raise HoldfastError(
                errors.SERVER_OVERLOADED,
                f"the server has {limits.sessions_max} sessions",
                metadata={"limit": str(limits.sessions_max)},
            )
        token = token_of(context.invocation_metadata() or ())
        first = await self._first_frame(context)
        hello = check_hello(first)
        namespace, identity = (
            shared.convert.namespace(hello.namespace),
            shared.convert.identity(context),
        )
        if token is not None:
            # The hello may have come long after the token.
            identity = shared.identify(token, identity, namespace)
        caller = shared.convert.owner(context)
        resume = hello.resume_token or shared.node.environment.secret_bytes(TOKEN_BYTES)
        terms = Terms(
            namespace=namespace,
            client_id=hello.client_id,
            accept=encoding_of(hello),
            caller=caller,
            digest=digest_of(resume, caller, namespace),
        )
        resumed = self._supersede(terms.digest)
        session = Session(shared, terms, context.peer(), token, identity, task)
        self._sessions[terms.digest] = session
        session.welcome(resume, resumed=resumed)
        if shared.calls.draining:
            session.go_away("the server is draining")
        return session, first

    async def _first_frame(self, context: Context) -> pb.OpenSessionRequest:
        idle_s = self._shared.limits.session_idle_s
        try:
            async with asyncio.timeout(idle_s):
                first = await read_frame(context)
        except TimeoutError:
            raise HoldfastError(
                errors.DEADLINE_EXCEEDED,
                f"no hello within {idle_s:g} s (session_idle_s)",
                metadata={"limit": "session_idle_s"},
            ) from None
        return pb.OpenSessionRequest() if first is None else first

    async def _serve(
        self, session: Session, first: pb.OpenSessionRequest, context: Context
    ) -> None:
        writer = asyncio.ensure_future(session.outbox.write(context.write))
        try:
            try:
                await session.run(context, first)
            except asyncio.CancelledError:
                if session.failure is not None:
                    await self._flush(session, writer)
                raise
            except HoldfastError:
                await self._flush(session, writer)
                raise
        finally:
            writer.cancel()

    async def _flush(self, session: Session, writer: asyncio.Future[None]) -> None:
        """What a session still has to say leaves before its status, if its client takes it."""
        session.break_off()
        said = asyncio.ensure_future(session.outbox.at_most(0))
        try:
            await asyncio.wait(
                (said, writer), timeout=_FLUSH_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            said.cancel()

    def _supersede(self, digest: bytes) -> bool:
        """End an older session of the same token; whether something of it is left here."""
        older = self._sessions.pop(digest, None)
        if older is not None:
            older.end(HoldfastError(errors.SESSION_SUPERSEDED))
        self._forget()
        return older is not None or self._broken.pop(digest, None) is not None

    def _leave(self, session: Session) -> None:
        session.break_off()
        digest = session.terms.digest
        if self._sessions.get(digest) is session:
            del self._sessions[digest]
        if session.resumable and digest not in self._sessions:
            shared = self._shared
            self._broken.pop(digest, None)
            self._broken[digest] = shared.node.loop.time() + shared.limits.connection_grace_s

    def _forget(self) -> None:
        """Drop the broken sessions whose connections are no longer kept."""
        now = self._shared.node.loop.time()
        while self._broken and next(iter(self._broken.values())) <= now:
            del self._broken[next(iter(self._broken))]

    def _recheck(self) -> None:
        """Tokens have changed: end the sessions whose token is no longer accepted."""
        for session in list(self._sessions.values()):
            session.credential.recheck()

    # Draining

    def drain(self) -> None:
        """Tell every client to open no more streams."""
        for session in self._sessions.values():
            session.go_away("the server is draining")

    def streams_end(self) -> None:
        """Streaming calls end at their next item, also those without credit."""
        for session in list(self._sessions.values()):
            session.streams_end()

    async def close(self) -> None:
        """End every session once it has said what it has to say."""
        sessions = list(self._sessions.values())
        for session in sessions:
            session.end(HoldfastError(errors.SERVER_DRAINING))
        if sessions:
            await asyncio.wait([session.task for session in sessions], timeout=2 * _FLUSH_S)
