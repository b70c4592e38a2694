"""Handlers of RPCs without gRPC: collected from the services, and called with a context that
is not a connection's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import grpc

from holdfast_server.runtime.procedures import Metadata

# What gRPC calls the names in a certificate.
COMMON_NAME: Final = "x509_common_name"
ALTERNATIVE_NAME: Final = "x509_subject_alternative_name"


class Aborted(Exception):
    """The handler ended its RPC by `context.abort`."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        self.code = code
        self.details = details
        self.trailing = trailing
        super().__init__(f"{code.name}: {details}")


class Details(NamedTuple):
    """What an interceptor may ask of a call."""

    method: str
    invocation_metadata: Metadata = ()


class Handlers:
    """Collects the handlers of services, in place of a grpc.aio server."""

    def __init__(self) -> None:
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._generic += handlers

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same again, by name."""

    def find(self, method: str) -> Any:
        """The handler of a method; None where there is none."""
        for generic in self._generic:
            handler = generic.service(Details(method))
            if handler is not None:
                return handler
        return None


class DirectContext:
    """What a handler may ask of its RPC: the part of grpc.aio.ServicerContext in use.

    `deadline` is in the loop's time; `certificate` are properties of the client's as gRPC
    names them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadline: float | None,
        metadata: Metadata,
        *,
        peer: str = "in-process",
        certificate: Mapping[str, Sequence[bytes]] | None = None,
    ) -> None:
        self._loop = loop
        self._deadline = deadline
        self._metadata = metadata
        self._peer = peer
        self._certificate = certificate or {}
        # None until the handler says one.
        self.code_set: grpc.StatusCode | None = None
        self.details_set = ""
        self.trailing: Metadata = ()

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self.trailing = tuple(metadata)

    def trailing_metadata(self) -> Metadata:
        return self.trailing

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Nobody waits for it."""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code_set = code

    def set_details(self, details: str) -> None:
        self.details_set = details

    def code(self) -> grpc.StatusCode | None:
        return self.code_set

    def details(self) -> str:
        return self.details_set

    def peer(self) -> str:
        return self._peer

    def peer_identity_key(self) -> str | None:
        for key in (ALTERNATIVE_NAME, COMMON_NAME):
            if self._certificate.get(key):
                return key
        return None

    def peer_identities(self) -> Sequence[bytes] | None:
        key = self.peer_identity_key()
        return None if key is None else self._certificate[key]

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return self._certificate

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        self.code_set, self.details_set = code, details
        self.trailing = tuple(trailing_metadata)
        raise Aborted(code, details, self.trailing)
