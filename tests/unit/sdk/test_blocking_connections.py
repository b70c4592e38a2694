"""Connections and events of the blocking client."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from holdfast import ActorError, EventsTrimmed, blocking
from tests.unit.sdk.fake_actors import Refusal
from tests.unit.sdk.fake_server import running_in_thread
from tests.unit.sdk.fake_session import Sessions


def test_the_face() -> None:
    with running_in_thread(Sessions) as (_, address), blocking.Client(address) as client:
        room = client.get("room", "one")
        got: queue.Queue[Any] = queue.Queue()
        with room.connect({"user": "ada"}) as conn:
            remove = conn.on("message", lambda text: got.put((text, threading.current_thread())))
            conn.emit("message", "hello")
            text, thread = got.get(timeout=10)
            assert text == "hello"
            assert thread.name.startswith("holdfast-listener")
            # A listener may use the client.
            conn.once("message", lambda text: got.put(room.add(text)))
            remove()
            conn.emit("message", "again")
            assert got.get(timeout=10) == [["again"], {}]
            events = conn.events(from_sequence=1)
            assert [next(events).args[0] for _ in range(2)] == ["hello", "again"]
            assert (conn.status, conn.connection_id) == ("connected", "C1")
            assert list(conn.action_stream("count", 3)) == [0, 1, 2]
        assert conn.status == "closed"
        loose = room.events("message", from_sequence=2)
        assert next(loose).args == ("again",)
        stop = room.on("other", got.put)
        room.emit("other", 5)
        assert got.get(timeout=10) == 5
        stop()


def test_a_refusal_and_a_gap_are_raised() -> None:
    made: list[Sessions] = []

    def sessions() -> Sessions:
        made.append(Sessions())
        return made[0]

    with running_in_thread(sessions) as (_, address), blocking.Client(address) as client:
        room = client.get("room", "one")
        made[0].failures = [Refusal("PERMISSION_DENIED", "FORBIDDEN")]
        with pytest.raises(ActorError, match="told to fail"), room.connect() as conn:
            conn.ready()
        for n in range(5):
            room.emit("x", n)
        made[0].actor("one").trim(2)
        events = room.events(from_sequence=1)
        with pytest.raises(EventsTrimmed):
            next(events)


def test_the_end_of_a_block_waits_until_listeners_have_heard_of_it() -> None:
    with running_in_thread(Sessions) as (_, address), blocking.Client(address) as client:
        said: list[str] = []
        busy, go_on = threading.Event(), threading.Event()

        def hold(text: str) -> None:
            busy.set()
            assert go_on.wait(10)
            said.append(text)

        connection = client.get("room", "one").connect()
        connection.on_status_change(said.append)
        connection.on_close(lambda: said.append("CLOSE"))
        connection.on("message", hold)
        with connection as conn:
            conn.emit("message", "hello")
            assert busy.wait(10)
            threading.Timer(0.05, go_on.set).start()
        assert said == ["connecting", "connected", "hello", "closed", "CLOSE"]

        # From within a listener it does not wait for itself.
        other = client.get("room", "one").connect()
        over = threading.Event()
        other.on("bye", lambda: (other.close(), over.set()))
        with other as conn:
            conn.emit("bye")
            assert over.wait(4)
