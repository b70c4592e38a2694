"""A text that several people edit at once, also while they are offline.

`python -m examples.collaborative_editor.app` builds the page and serves it: open the URL that
it prints, in two windows. `python -m examples.collaborative_editor.client` is a third who
types, in Python.

The text is a CRDT, a Yjs document: `yjs` in the browser, `pycrdt` here. Whoever edits sends
what they changed as an update, and updates merge to the same text in whatever order they
come. So the actor never says no to an edit that was made elsewhere or long ago: it stores
it, tells the others, and says "saved" when it is on disk.

An update is a row in KV. When there are many they become a snapshot, in the turn of the
update that was one too many. In memory is the document, for as long as the actor is awake;
with `hibernate_websockets` it sleeps while nobody types, and its editors notice nothing.

What goes over the WebSocket:

    binary, both ways: HAVE and a state vector, "this is what I have, send me the rest";
                       UPDATE and an update
    text, to here:     {"name": "ada", "cursor": ...}, who edits, and where; a cursor is
                       anything in JSON, or null
    text, from here:   {"saved": n}, n more updates of yours are on disk
                       {"who": id, "name": "ada", "cursor": ...}, of another
                       {"gone": id}

Presence is not stored, but for the names, which belong to their connections: a cursor is
true for a moment, so moving one waits for no disk.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from pycrdt import Doc

from examples.collaborative_editor.crdt import EMPTY, apply, missing, text_of
from examples.pages import CannotBuild, build
from holdfast import (
    Actor,
    Connection,
    Context,
    Request,
    Response,
    UserError,
    WebSocket,
    action,
    setup,
)

HAVE, UPDATE = b"\x00", b"\x01"
SAVED = '{"saved":1}'

UPDATE_BYTES_MAX = 256 << 10
DOCUMENT_BYTES_MAX = 1 << 20
PRESENCE_BYTES_MAX = 1 << 10
NAME_CHARS_MAX = 32
EDITORS_MAX = 50

# So many updates, or bytes of them, become a snapshot. One update that is larger is no row.
ROWS_MAX = 500
ROWS_BYTES_MAX = 64 << 10
# A value in KV has at most 128 KiB.
CHUNK_BYTES = 100 << 10

HEADERS = {"content-type": "text/html; charset=utf-8", "cache-control": "no-cache"}


@dataclass
class Journal:
    """How the document is stored: a snapshot, and the updates since."""

    snapshot_bytes: int = 0
    rows: int = 0
    rows_bytes: int = 0
    # Of the last update; it goes on growing over snapshots.
    number: int = 0


@dataclass
class Editor:
    """Who is at the other end of a connection; no name before it has said one."""

    name: str = ""


@dataclass
class Live:
    """What an awake actor has in memory."""

    document: Doc[Any] | None = None
    # By id of connection.
    cursors: dict[str, Any] = field(default_factory=dict)


@dataclass
class Facts:
    """What is known of a document, for whoever looks after it."""

    editors: list[str]
    updates: int
    # Those that are in no snapshot yet.
    rows: int
    stored_bytes: int


class Presence(msgspec.Struct):
    """Who somebody is, and where in the text."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"\S")]
    cursor: Any


Page = Context[Journal, Editor]


class Document(Actor[Journal, Editor]):
    """One document, and those who edit it."""

    state = Journal
    hibernate_websockets = True

    async def create_vars(self, c: Page) -> Live:
        return Live()

    async def create_conn_state(self, c: Page, params: Any) -> Editor:
        return Editor()

    async def on_request(self, c: Page, request: Request) -> Response:
        """The page, and the text as it is."""
        if request.method != "GET":
            return Response("this document is edited over its WebSocket\n", status=405)
        if request.path == "/":
            try:
                return Response(await asyncio.to_thread(page), headers=HEADERS)
            except CannotBuild as failure:
                return Response(str(failure), status=503)
        if request.path == "/text":
            text = text_of(await self._document(c))
            return Response(text, headers={"content-type": "text/plain; charset=utf-8"})
        return Response("here are / and /text\n", status=404)

    async def on_websocket(self, c: Page, websocket: WebSocket) -> None:
        """Edit together with everybody else whose socket is open."""
        if not websocket.resumed:
            if len(c.websockets) > EDITORS_MAX:
                raise UserError(f"{EDITORS_MAX} are here already", code="too_many_editors")
            await websocket.send(HAVE + (await self._document(c)).get_state())
            await self._introduce(c, websocket)
        async for message in websocket:
            if isinstance(message, str):
                await self._move(c, websocket, message)
            elif message[:1] == HAVE:
                await self._catch_up(c, websocket, message[1:])
            elif message[:1] == UPDATE:
                await self._merge(c, websocket, message[1:])
            else:
                raise UserError("a message is HAVE or UPDATE", code="bad_message")

    async def on_disconnect(self, c: Page, conn: Connection[Editor]) -> None:
        """Somebody has gone; those who only fetched the page were never here."""
        if conn.state.name:
            c.vars.cursors.pop(conn.id, None)
            await tell(c, conn.id, as_text({"gone": conn.id}))

    @action(read_only=True)
    async def text(self, c: Page) -> str:
        """The text as it is stored."""
        return text_of(await self._stored(c))

    @action(read_only=True)
    async def facts(self, c: Page) -> Facts:
        """Who is here, and what is stored."""
        present = (websocket.conn for websocket in c.websockets)
        names = sorted(conn.state.name for conn in present if conn and conn.state.name)
        rows = await c.kv.list("update/")
        values = [value for _, value in [*rows, *await c.kv.list("snapshot/")]]
        return Facts(names, c.state.number, len(rows), sum(map(len, values)))

    async def _catch_up(self, c: Page, websocket: WebSocket, state_vector: bytes) -> None:
        """Send somebody what they lack."""
        document = await self._document(c)
        try:
            await websocket.send(UPDATE + missing(document, state_vector))
        except ValueError as error:
            raise UserError(f"this is no state vector: {error}", code="bad_message") from None

    async def _merge(self, c: Page, websocket: WebSocket, update: bytes) -> None:
        """Take an update in, durably, and tell the others."""
        if len(update) > UPDATE_BYTES_MAX:
            limit = f"an update has at most {UPDATE_BYTES_MAX} bytes"
            raise UserError(limit, code="update_too_large")
        document = await self._document(c)
        try:
            update = apply(document, update)
            if update == EMPTY:
                await websocket.send(SAVED)
                return
            await self._store(c, document, update)
        except BaseException as error:
            # The turn is undone, and the document is not: it is read again when it is needed.
            c.vars.document = None
            if isinstance(error, ValueError):
                raise UserError(f"this is no update: {error}", code="bad_update") from None
            raise
        await websocket.send(SAVED)
        await tell(c, id_of(websocket), UPDATE + update)

    async def _store(self, c: Page, document: Doc[Any], update: bytes) -> None:
        """Write the update as a row, or everything as a snapshot."""
        journal = c.state
        journal.number += 1
        rows_bytes = journal.rows_bytes + len(update)
        small = rows_bytes <= ROWS_BYTES_MAX and journal.rows < ROWS_MAX
        if small and journal.snapshot_bytes + rows_bytes <= DOCUMENT_BYTES_MAX:
            await c.kv.put(f"update/{journal.number:012}", update)
            journal.rows += 1
            journal.rows_bytes = rows_bytes
            return
        snapshot = document.get_update()
        if len(snapshot) > DOCUMENT_BYTES_MAX:
            limit = f"a document has at most {DOCUMENT_BYTES_MAX} bytes, with its history"
            raise UserError(limit, code="document_full")
        await c.kv.delete_range("snapshot/", "snapshot0")
        await c.kv.delete_range("update/", "update0")
        for start in range(0, len(snapshot), CHUNK_BYTES):
            await c.kv.put(f"snapshot/{start:09}", snapshot[start : start + CHUNK_BYTES])
        journal.snapshot_bytes, journal.rows, journal.rows_bytes = len(snapshot), 0, 0

    async def _document(self, c: Page) -> Doc[Any]:
        """The document in memory."""
        live: Live = c.vars
        if live.document is None:
            live.document = await self._stored(c)
        return live.document

    async def _stored(self, c: Page) -> Doc[Any]:
        """The document as it is stored."""
        document: Doc[Any] = Doc()
        snapshot = b"".join(as_bytes(chunk) for _, chunk in await c.kv.list("snapshot/"))
        if snapshot:
            document.apply_update(snapshot)
        for _, update in await c.kv.list("update/"):
            document.apply_update(as_bytes(update))
        return document

    async def _move(self, c: Page, websocket: WebSocket, message: str) -> None:
        """Somebody says who they are, or where."""
        told = presence(message)
        conn: Connection[Editor] | None = websocket.conn
        assert conn is not None
        if conn.state.name != told.name:
            conn.state.name = told.name
        c.vars.cursors[conn.id] = told.cursor
        await tell(c, conn.id, who(c, conn))

    async def _introduce(self, c: Page, websocket: WebSocket) -> None:
        """Tell somebody new who is here. Cursors are known of those who moved since this
        actor woke."""
        for other in c.websockets:
            if other is not websocket and other.conn is not None and other.conn.state.name:
                await websocket.send(who(c, other.conn))


def presence(message: str) -> Presence:
    """What somebody says of themselves."""
    if len(message.encode()) > PRESENCE_BYTES_MAX:
        limit = f"a presence has at most {PRESENCE_BYTES_MAX} bytes"
        raise UserError(limit, code="bad_presence")
    try:
        return msgspec.json.decode(message, type=Presence)
    except msgspec.DecodeError as error:
        raise UserError(f"this is no presence: {error}", code="bad_presence") from None


def who(c: Page, conn: Connection[Editor]) -> str:
    """What others are told of somebody."""
    cursor = c.vars.cursors.get(conn.id)
    return as_text({"who": conn.id, "name": conn.state.name, "cursor": cursor})


async def tell(c: Page, conn_id: str, message: str | bytes) -> None:
    """Send to all but one."""
    for other in c.websockets:
        if id_of(other) != conn_id:
            await other.send(message)


def id_of(websocket: WebSocket) -> str:
    """Who is at the other end of a socket."""
    return "" if websocket.conn is None else websocket.conn.id


def as_text(message: dict[str, Any]) -> str:
    """A message of text."""
    return msgspec.json.encode(message).decode()


def as_bytes(value: str | bytes) -> bytes:
    """A value of KV that was put as bytes."""
    assert isinstance(value, bytes)
    return value


@functools.cache
def page() -> bytes:
    """The page, one file. It has been built when the server started, unless others start it."""
    return (build("collaborative_editor") / "index.html").read_bytes()


def url_of(http: str, name: str) -> str:
    """Where the page of a document is."""
    query = f"rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key={name}"
    return f"http://{http}/gateway/document/request/?{query}"


registry = setup(use={"document": Document})

if __name__ == "__main__":
    try:
        page()
    except CannotBuild as failure:
        sys.exit(str(failure))
    print("Open", url_of(os.environ.get("HOLDFAST_HTTP", "127.0.0.1:6420"), "welcome"), flush=True)
    registry.serve()
