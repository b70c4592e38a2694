"""Whoever calls RPCs over the Connect protocol, by the wire alone.

It is written from the protocol's specification, and shares no code with the gateway.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import aiohttp
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from holdfast.v1 import actor_service_pb2 as pb
from holdfast_server.app import Server
from tests.gateway.browser import Answer
from tests.server.wire import as_json, target

ACTORS = "/holdfast.v1.ActorService"
COMPRESSED, END = 1, 2

M = TypeVar("M", bound=Message)


class Told(NamedTuple):
    """An Error of the protocol: its code, and the reason and metadata of its ErrorInfo."""

    code: str
    reason: str
    metadata: dict[str, str]
    retry_s: float | None


def told(error: Mapping[str, Any]) -> Told:
    """What an Error says; it must be well-formed."""
    assert set(error) <= {"code", "message", "details"}, error
    assert error["message"]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_s = None
    for detail in error["details"]:
        assert set(detail) == {"type", "value", "debug"}
        assert not detail["value"].endswith("=")
        value = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
        packed = any_pb2.Any(type_url=f"x/{detail['type']}", value=value)
        if packed.Unpack(info):
            assert detail["debug"] == json_format.MessageToDict(info)
        elif packed.Unpack(retry):
            retry_s = retry.retry_delay.ToMilliseconds() / 1000
    assert info.domain == "holdfast.dev"
    return Told(error["code"], info.reason, dict(info.metadata), retry_s)


def invoke(action: str, *args: Any, key: str = "a", **fields: Any) -> pb.InvokeActionRequest:
    """A call of an action of the desk, which is made if there is none."""
    return pb.InvokeActionRequest(
        target=target("desk", key), action=action, args=as_json(args), **fields
    )


def stream_of(action: str, *args: Any, key: str = "a") -> pb.StreamActionRequest:
    """The same of a streaming action."""
    return pb.StreamActionRequest(target=target("desk", key), action=action, args=as_json(args))


def encoded(encoding: str, message: Message) -> bytes:
    if encoding == "proto":
        return message.SerializeToString()
    return json_format.MessageToJson(message).encode()


def decoded(encoding: str, data: bytes, kind: type[M]) -> M:
    if encoding == "proto":
        return kind.FromString(data)
    return json_format.Parse(data, kind())


def enveloped(data: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(data).to_bytes(4) + data


class Rpcs:
    """A client of one server."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.http_port}"
        self._session = session

    async def post(self, path: str, body: bytes, kind: str, **headers: str) -> Answer:
        """A request as it is."""
        all_headers = {"content-type": kind} if kind else {}
        all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(
            self.url + path, data=io.BytesIO(body), headers=all_headers
        ) as response:
            return Answer(response, await response.read())

    async def call(
        self, message: Message, *, encoding: str = "json", path: str = "", **headers: str
    ) -> Answer:
        """A unary RPC, by default that of the message's type."""
        path = path or f"{ACTORS}/{type(message).__name__.removesuffix('Request')}"
        kind = f"application/{encoding}"
        return await self.post(path, encoded(encoding, message), kind, **headers)

    async def result(self, message: pb.InvokeActionRequest, **options: Any) -> Any:
        """The result of an action that succeeds."""
        answer = await self.call(message, **options)
        assert answer.status == 200, answer.body
        response = json_format.Parse(answer.body, pb.InvokeActionResponse())
        return json.loads(response.result.data)

    @asynccontextmanager
    async def stream(
        self,
        message: Message,
        *,
        encoding: str = "json",
        path: str = "",
        body: bytes | None = None,
        **headers: str,
    ) -> AsyncIterator[Envelopes]:
        """A server-streaming RPC, open."""
        path = path or f"{ACTORS}/{type(message).__name__.removesuffix('Request')}"
        all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(
            self.url + path,
            data=enveloped(encoded(encoding, message)) if body is None else body,
            headers={"content-type": f"application/connect+{encoding}", **all_headers},
        ) as response:
            yield Envelopes(response, encoding)


class Envelopes:
    """What comes of a stream."""

    def __init__(self, response: aiohttp.ClientResponse, encoding: str) -> None:
        assert response.status == 200
        assert response.headers["content-type"] == f"application/connect+{encoding}"
        self.response = response
        self._encoding = encoding

    async def next(self) -> tuple[int, bytes]:
        """Flags and message of the next envelope, decompressed."""
        content = self.response.content
        head = await content.readexactly(5)
        data = await content.readexactly(int.from_bytes(head[1:]))
        if head[0] & COMPRESSED:
            assert self.response.headers["connect-content-encoding"] == "gzip"
            data = gzip.decompress(data)
        return head[0], data

    async def item(self, kind: type[M]) -> M:
        """The next message."""
        flags, data = await self.next()
        assert not flags & END, data
        return decoded(self._encoding, data, kind)

    async def value(self) -> Any:
        """The next item of a streaming action."""
        response = await self.item(pb.StreamActionResponse)
        return json.loads(response.items[0].data)

    async def end(self) -> dict[str, Any]:
        """The EndStreamResponse, behind which there is nothing."""
        flags, data = await self.next()
        assert flags & END, data
        assert await self.response.content.read() == b""
        ended: dict[str, Any] = json.loads(data)
        assert set(ended) <= {"error", "metadata"}
        return ended

    async def error(self) -> Told:
        """How it failed."""
        return told((await self.end())["error"])
