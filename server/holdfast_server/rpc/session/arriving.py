"""A stream whose first command has not arrived in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.session.streams import Kind, Stream

if TYPE_CHECKING:
    from holdfast_server.rpc.session.session import Session


class Arriving(Stream):
    """Its chunks are kept by the session."""

    __slots__ = ("_session",)
    kind = Kind.ARRIVING

    def __init__(self, number: int, session: Session) -> None:
        super().__init__(number)
        self._session = session

    def cancel(self) -> None:
        self._session.dropped(self.number)
        self._session.failed(self.number, HoldfastError(errors.CANCELLED))
