"""What a line of the log says, and where it comes from."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from holdfast import ActorError
from holdfast_server.config import ConfigError, load
from holdfast_server.runtime.runners.local import current_fields
from holdfast_server.telemetry.logging import Context, ServerHandler, configure
from tests.telemetry.actors import Relay, Worker
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start, caller


@contextmanager
def alone() -> Iterator[logging.Logger]:
    """The root logger, as it is in a new process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def logging_to(
    form: str, level: str = "info", context: Context = current_fields
) -> Iterator[io.StringIO]:
    """What is logged in this block."""
    stream = io.StringIO()
    with alone():
        configure(form, level, context, stream)
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def line(stream: io.StringIO, message: str) -> dict[str, Any]:
    (found,) = (each for each in lines(stream) if each["message"] == message)
    return found


async def test_lines_out_of_a_turn_name_actor_action_and_trace(start: Start) -> None:
    _, client = await start()
    relay = client.get_or_create(Relay, ["org", "a"])
    with logging_to("json") as stream, caller():
        await relay.log()

    mine = line(stream, "from the actor")
    assert mine.pop("time").endswith("Z")
    assert mine == {
        "level": "info",
        "logger": "holdfast.user",
        "message": "from the actor",
        "actor": "relay",
        "key": ["org", "a"],
        "actor_id": await relay.resolve(),
        "action": "log",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "step": 1,
    }
    others = line(stream, "from a library")
    assert (others["logger"], others["action"], others["trace_id"]) == (
        "somebody.else",
        "log",
        TRACE_ID,
    )


async def test_a_failure_is_logged_with_its_stack_and_its_trace(start: Start) -> None:
    _, client = await start()
    with logging_to("json") as stream, caller(), pytest.raises(ActorError):
        await client.get_or_create(Relay, ["a"]).crash("why")

    (failure,) = (each for each in lines(stream) if "exception" in each)
    assert failure["exception"].endswith("ValueError: why")
    assert (failure["action"], failure["trace_id"]) == ("crash", TRACE_ID)


async def test_a_run_that_fails_is_logged_with_its_stack_and_its_actor(start: Start) -> None:
    _, client = await start()
    with logging_to("json") as stream:
        await client.get_or_create(Worker, ["org", "a"]).wake()
        while "failed" not in stream.getvalue():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0)

    (failure,) = (each for each in lines(stream) if "exception" in each)
    assert failure["message"] == "run of default/worker/['org', 'a'] failed"
    assert failure["exception"].endswith("ValueError: hush org")
    assert (failure["level"], failure["actor"], failure["key"]) == ("error", "worker", ["org", "a"])


def test_lines_of_text_have_the_same_behind_them() -> None:
    with logging_to("text", "warning", lambda: {"actor": "relay", "key": ["ä"]}) as stream:
        logging.getLogger("a").info("too low")
        logging.getLogger("a").warning("hello %s", "you", extra={"step": 1})
        logging.getLogger("a").warning("own", extra={"actor": "other"}, stack_info=True)

    first, second, *stack = stream.getvalue().splitlines()
    assert first.split(" ", 1)[1] == 'WARNING a: hello you [actor="relay" key=["ä"] step=1]'
    assert second.endswith('a: own [actor="other" key=["ä"]]')
    assert stack[0].startswith("Stack (most recent call last)")


def test_what_json_does_not_know_is_told_as_text() -> None:
    with logging_to("json", "debug", dict) as stream:
        try:
            raise KeyError("x")
        except KeyError:
            logging.debug("odd", extra={"what": {1}}, exc_info=True, stack_info=True)

    odd = line(stream, "odd")
    assert (odd["what"], odd["level"]) == ("{1}", "debug")
    assert odd["exception"].endswith("KeyError: 'x'")
    assert "test_logging.py" in odd["stack"]


def test_the_last_settings_hold_and_those_of_the_application_stay() -> None:
    with alone() as root:
        configure("text", "info", dict)
        configure("json", "error", dict)
        (handler,) = root.handlers
        assert isinstance(handler, ServerHandler)
        assert (handler.stream, root.level) == (sys.stderr, logging.ERROR)

        own = logging.NullHandler()
        root.handlers[:] = [own]
        configure("json", "debug", dict)
        assert (root.handlers, root.level) == ([own], logging.ERROR)


@pytest.mark.parametrize("name", ["log_format", "log_level"])
def test_settings_that_are_not_known_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"HOLDFAST_{name.upper()}: 'loud' is not one of"):
        load({f"HOLDFAST_{name.upper()}": "loud"})
