"""Runs the conformance cases over the Connect protocol in JSON: `connect ADDRESS CASES_DIRECTORY`.

It is written from the protocol's specification and shares nothing with the server: `aiohttp`
sends the requests, and envelopes are read as they come.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
from google.protobuf import any_pb2, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor

# What the messages of the cases are made of.
import tests.conformance.python.runner as cases

# Codes that are not spelled like the gRPC code in lower case.
SPELLED = {"CANCELED": "CANCELLED"}
END = 2


class ConnectClient:
    """Posts to one server."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._url = f"http://{address}"

    def begin(
        self, method: MethodDescriptor, request: Any, timeout_s: float, metadata: dict[str, str]
    ) -> cases.Answers:
        body = json_format.MessageToJson(request).encode()
        kind = "application/json"
        if method.server_streaming:
            kind = "application/connect+json"
            body = bytes(1) + len(body).to_bytes(4) + body
        sending = self._session.post(
            f"{self._url}/{method.containing_service.full_name}/{method.name}",
            data=body,
            headers={
                **metadata,
                "content-type": kind,
                "connect-protocol-version": "1",
                "connect-timeout-ms": str(round(timeout_s * 1000)),
            },
        )
        return ConnectAnswers(asyncio.ensure_future(_begun(sending)), method)


class ConnectAnswers:
    """A request under way."""

    def __init__(
        self, begun: asyncio.Future[aiohttp.ClientResponse], method: MethodDescriptor
    ) -> None:
        self._begun = begun
        self._method = method

    async def read(self, enough: Callable[[Any], bool]) -> tuple[Any, dict[str, Any] | None]:
        merged = message_factory.GetMessageClass(self._method.output_type)()
        response = await self._begun
        if not self._method.server_streaming:
            body = await response.read()
            if response.status != 200:
                return merged, described(json.loads(body))
            json_format.Parse(body, merged)
            return merged, None
        assert (response.status, response.content_type) == (200, "application/connect+json")
        while True:
            head = await response.content.readexactly(5)
            body = await response.content.readexactly(int.from_bytes(head[1:]))
            if head[0] & END:
                end = json.loads(body)
                return merged, described(end["error"]) if "error" in end else None
            merged.MergeFrom(json_format.Parse(body, type(merged)()))
            if enough(merged):
                return merged, None

    async def cancel(self) -> None:
        if self._method.server_streaming:
            (await self._begun).close()


def described(error: dict[str, Any]) -> dict[str, Any]:
    """An Error of the protocol as the cases speak of it."""
    details = [
        any_pb2.Any(
            type_url=f"type.googleapis.com/{detail['type']}",
            value=base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4)),
        )
        for detail in error.get("details", ())
    ]
    status = error["code"].upper()
    return cases.describe(SPELLED.get(status, status), error.get("message"), details)


async def _begun(sending: Any) -> aiohttp.ClientResponse:
    response: aiohttp.ClientResponse = await sending
    return response


async def main(address: str, directory: str) -> int:
    async with aiohttp.ClientSession() as session:
        return await cases.run_all(ConnectClient(session, address), directory)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
