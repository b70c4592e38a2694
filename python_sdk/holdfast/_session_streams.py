"""What travels inside a session: streams, and the words for how one ends.

A `Stream` is one call, connection or subscription. A link gives it a number and the
answers for that number; a stream that outlives a link is opened again on the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from holdfast._status import STATUS_KEY

if TYPE_CHECKING:
    from holdfast._session_link import Link
    from holdfast.v1 import session_service_pb2 as pb

WINDOW_BYTES: Final = 256 * 1024
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Stream:
    """One stream of a session; whoever opens it overrides what it hears of.

    `link` is the link on which it is open, None where it is on none.
    """

    __slots__ = ("__weakref__", "link", "number")

    # Whether it is opened again, by the session, when its link breaks.
    lasting: bool = False

    def __init__(self) -> None:
        self.link: Link | None = None
        self.number: int = 0

    def size(self) -> int:
        """About how many bytes of payload the opening command has."""
        return 0

    def parent(self) -> Stream | None:
        """The connection that it belongs to, which must be open first."""
        return None

    def fill(self, command: pb.SessionCommand) -> None:
        """Write the command that opens it."""

    def owed(self, link: Link) -> None:
        """Send the credit and the acknowledgement that were asked to be sent."""

    def result(self, answer: pb.SessionResult) -> None:
        """The call returned; it is over."""

    def items(self, answer: pb.SessionItems) -> None:
        """Items of a streaming call."""

    def connected(self, answer: pb.SessionConnected) -> None:
        """The connection is open."""

    def subscribed(self, answer: pb.SessionSubscribed) -> None:
        """The subscription stands there."""

    def event(self, event: Any) -> None:
        """An event of the subscription."""

    def message(self, answer: pb.SessionMessage) -> None:
        """A message to the connection."""

    def end(self, answer: pb.SessionEnd) -> None:
        """The server ended it."""

    def cut(self, error: Exception) -> None:
        """Its link broke, or none could be opened."""


def status_error(end: pb.SessionEnd) -> grpc.aio.AioRpcError:
    """The end of a stream as the failed RPC that it would be outside a session."""
    code = _CODES.get(end.code, grpc.StatusCode.UNKNOWN)
    trailing = grpc.aio.Metadata((STATUS_KEY, end.details)) if end.details else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=end.message)


def renewed(error: Exception) -> Exception:
    """The same failure for one more stream: an exception is raised in one place only."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return type(error)(*error.args)
    return grpc.aio.AioRpcError(
        error.code(),
        error.initial_metadata(),
        error.trailing_metadata(),
        error.details(),
        error.debug_error_string(),
    )


def local_error(code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
    """A failure that this side found, in the form of a failed RPC."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)


__all__ = ["WINDOW_BYTES", "Stream", "local_error", "renewed", "status_error"]
