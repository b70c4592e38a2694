"""An editor without a window: a replica of a document, and the WebSocket that it follows."""

from __future__ import annotations

import json
from typing import Any

from pycrdt import Doc, Text, TransactionEvent

from examples.collaborative_editor.app import HAVE, UPDATE
from examples.collaborative_editor.crdt import TEXT
from holdfast import WebSocket

# A cursor at the end of the text, as Yjs writes places in a text down.
_PLACE = {"type": None, "tname": TEXT, "item": None, "assoc": 0}
END = {"anchor": _PLACE, "head": _PLACE}


class Peer:
    """A replica. It may be edited whether or not its socket is open; `connect` brings it up
    to date, in both directions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.document: Doc[Any] = Doc()
        self.text: Text = self.document.get(TEXT, type=Text)
        self.others: dict[str, dict[str, Any]] = {}
        self.unsaved = 0
        self._socket: WebSocket | None = None
        self._outgoing: list[bytes] = []
        self._changes = self.document.observe(self._on_change)

    async def connect(self, websocket: WebSocket) -> None:
        """Follow the document over this socket; returns when both sides have the same."""
        self._socket, self.unsaved, self.others = websocket, 0, {}
        await self.move()
        await websocket.send(HAVE + self.document.get_state())
        synced = False
        while not synced:
            synced = await self.receive() == UPDATE
        await self.flush()

    async def move(self, cursor: Any = END) -> None:
        """Say who this is, and where."""
        await self._open.send(json.dumps({"name": self.name, "cursor": cursor}))

    async def flush(self) -> None:
        """Send what was edited, and wait until it is on disk."""
        while self._outgoing:
            await self._send(self._outgoing.pop(0))
        while self.unsaved:
            await self.receive()

    async def receive(self) -> bytes:
        """Take one message in; HAVE, UPDATE, or nothing for one of text."""
        message = await self._open.receive()
        if isinstance(message, str):
            self._hear(json.loads(message))
            return b""
        kind, body = message[:1], message[1:]
        if kind == HAVE:
            # Everything that is edited later follows this.
            self._outgoing.clear()
            await self._send(self.document.get_update(body))
        else:
            self._apply(body)
        return kind

    def _apply(self, update: bytes) -> None:
        """Take somebody's update in, which is nothing to be sent."""
        count = len(self._outgoing)
        self.document.apply_update(update)
        del self._outgoing[count:]

    def _hear(self, told: dict[str, Any]) -> None:
        if "saved" in told:
            self.unsaved -= told["saved"]
        elif "gone" in told:
            self.others.pop(told["gone"], None)
        else:
            self.others[told["who"]] = told

    async def _send(self, update: bytes) -> None:
        self.unsaved += 1
        await self._open.send(UPDATE + update)

    def _on_change(self, event: TransactionEvent) -> None:
        self._outgoing.append(event.update)

    @property
    def _open(self) -> WebSocket:
        assert self._socket is not None, "connect first"
        return self._socket
