"""Whoever speaks HTTP and WebSocket to the gateway, by the wire alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from holdfast_server.app import Server

JSON_CONNECT = ("rivet", "rivet_encoding.json")


class Answer:
    """The answer to one request."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Group and code; they must be at the top, with a message."""
        body = self.json
        assert set(body) <= {"group", "code", "message", "metadata"}, body
        assert body["message"]
        assert self.headers["x-rivet-error"] == f"{body['group']}.{body['code']}"
        return f"{body['group']}.{body['code']}"


class Browser:
    """A client of one server."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server
        self.url = f"http://127.0.0.1:{server.http_port}"

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """One request; the path is sent as it is."""
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, **options) as response:
            return Answer(response, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def act(self, name: str, key: str, action: str, *args: Any, **options: Any) -> Answer:
        """Call an action of an actor that is made if there is none."""
        path = f"/gateway/{name}/action/{quote(action, safe='')}?{get_or_create(key)}"
        return await self.ask("POST", path, data=json.dumps({"args": args}), **options)

    async def result(self, name: str, key: str, action: str, *args: Any, **options: Any) -> Any:
        """The result of an action that succeeds."""
        answer = await self.act(name, key, action, *args, **options)
        assert answer.status == 200, answer.body
        return answer.json["output"]

    async def actor_id(self, name: str, key: str) -> str:
        """The id of an actor that is made if there is none."""
        body = json.dumps({"name": name, "key": key, "runner_name_selector": "default"})
        answer = await self.ask("PUT", "/actors?namespace=default", data=body)
        assert answer.status == 200, answer.body
        found: str = answer.json["actor"]["actor_id"]
        return found

    async def connect(
        self,
        name: str = "",
        key: str = "",
        *,
        path: str | None = None,
        params: Any = None,
        protocols: tuple[str, ...] = JSON_CONNECT,
        **options: Any,
    ) -> Talk:
        """Open a WebSocket to an actor, or to a path."""
        if params is not None:
            protocols += (f"rivet_conn_params.{quote(json.dumps(params), safe='')}",)
        path = path or f"/gateway/{name}/connect?{get_or_create(key)}"
        socket = await self.session.ws_connect(
            URL(self.url + path, encoded=True), protocols=protocols, autoclose=False, **options
        )
        return Talk(socket)

    async def talk(self, name: str, key: str, **options: Any) -> Talk:
        """The same, past its Init."""
        talk = await self.connect(name, key, **options)
        init = await talk.receive()
        assert set(init) == {"Init"}, init
        talk.connection_id = init["Init"]["connectionId"]
        talk.actor_id = init["Init"]["actorId"]
        return talk


class Talk:
    """A connection in JSON."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.connection_id = self.actor_id = ""

    async def receive(self) -> dict[str, Any]:
        """The next frame, by its tag."""
        message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, message
        body = json.loads(message.data)["body"]
        return {body["tag"]: body["val"]}

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close, without the ray id."""
        message = await self.socket.receive()
        assert message.type is WSMsgType.CLOSE, message
        await self.socket.close()
        return message.data, str(message.extra or "").partition("#")[0]

    async def send(self, tag: str, val: Any) -> None:
        await self.socket.send_str(json.dumps({"body": {"tag": tag, "val": val}}))

    async def act(self, number: int, name: str, *args: Any) -> None:
        request = {"id": ["$BigInt", str(number)], "name": name, "args": list(args)}
        await self.send("ActionRequest", request)

    async def subscribe(self, name: str, wanted: bool = True) -> None:
        await self.send("SubscriptionRequest", {"eventName": name, "subscribe": wanted})

    async def result(self, number: int, name: str, *args: Any) -> Any:
        """Call an action, and the next frame is its answer."""
        await self.act(number, name, *args)
        return answer_to(number, await self.receive())

    async def leave(self) -> None:
        await self.socket.close()


def answer_to(number: int, frame: dict[str, Any]) -> Any:
    """The output in the answer to an action."""
    assert set(frame) == {"ActionResponse"}, frame
    assert frame["ActionResponse"]["id"] == ["$BigInt", str(number)]
    return frame["ActionResponse"]["output"]


def get_or_create(key: str, **more: str) -> str:
    """The query that names an actor by its key, its parts joined by commas."""
    named = {"namespace": "default", "method": "getOrCreate", "runner": "default", "key": key}
    return urlencode({f"rvt-{name}": value for name, value in {**named, **more}.items()})


def get_only(key: str, **more: str) -> str:
    """The same for an actor that must be there."""
    named = {"namespace": "default", "method": "get", "key": key, **more}
    return urlencode({f"rvt-{name}": value for name, value in named.items()})
