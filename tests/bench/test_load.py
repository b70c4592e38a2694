"""The C load sends what it was given, and takes no wrong answer for a right one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from bench.load import driver, plans, program
from bench.load.driver import Lines, LoadError, Sample, percentiles
from bench.load.program import HttpLoad, Lane, Missing, WebSocketLoad
from bench.processes import group

pytestmark = pytest.mark.skipif(not program.available(), reason="no C compiler")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serving(handler: Handler) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def counting(request: web.Request) -> web.Response:
    counts[request.path] = counts.get(request.path, 0) + int(await request.text())
    return web.Response(text="ok")


async def chunked(request: web.Request) -> web.StreamResponse:
    counts[request.path] = counts.get(request.path, 0) + int(await request.text())
    response = web.StreamResponse()
    await response.prepare(request)
    for part in (b"a" * 20, b"b"):
        await response.write(part)
    await response.write_eof()
    return response


counts: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _none_counted() -> None:
    counts.clear()


@pytest.mark.parametrize("handler", [counting, chunked])
@pytest.mark.parametrize("in_flight", [1, 5])
async def test_http_calls_are_all_answered_and_no_more_are_made(
    handler: Handler, in_flight: int
) -> None:
    runner, port = await serving(handler)
    requests = [plans.request(port, f"/{index}", b"1") for index in range(3)]
    load = HttpLoad(port, requests, lambda: sum(counts.values()))
    try:
        sample = await asyncio.to_thread(load.run, in_flight, 0.05)
    finally:
        await runner.cleanup()

    assert sample.calls == load.total() >= in_flight
    assert sorted(sample.percentiles.values()) == list(sample.percentiles.values())
    assert set(counts) == {"/0", "/1", "/2"}


async def test_an_answer_that_is_an_error_ends_the_run() -> None:
    async def refusing(request: web.Request) -> web.Response:
        return web.Response(status=503, text="not today")

    runner, port = await serving(refusing)
    load = HttpLoad(port, [plans.request(port, "/", b"1")], lambda: 0)
    try:
        with pytest.raises(LoadError, match="503"):
            await asyncio.to_thread(load.run, 1, 0.05)
    finally:
        await runner.cleanup()


def answering(answer: Callable[[bytes], bytes]) -> Handler:
    """Greets, and answers each frame."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=plans.PROTOCOLS)
        await socket.prepare(request)
        await socket.send_bytes(b"hello")
        async for message in socket:
            assert message.type is WSMsgType.BINARY
            counts[request.path] = counts.get(request.path, 0) + 1
            await socket.send_bytes(answer(message.data))
        return socket

    return handle


def lanes(port: int) -> list[Lane]:
    messages = [plans.action_frame(number, "increment", b"\x81\x01") for number in (0, 300)]
    return [
        Lane(messages, plans.upgrade(port, f"/{index}", *plans.PROTOCOLS), greetings=1)
        for index in range(3)
    ]


@pytest.mark.parametrize("in_flight", [1, 12])
async def test_websocket_frames_are_unmasked_to_what_was_meant(in_flight: int) -> None:
    meant = {
        bytes.fromhex("0200 00 00 09 696e6372656d656e74 02 8101"),
        bytes.fromhex("0200 00 ac02 09 696e6372656d656e74 02 8101"),
    }
    seen = set()

    def answer(data: bytes) -> bytes:
        seen.add(data)
        return b"\x02\x00\x02rest" + bytes(200)

    runner, port = await serving(answering(answer))
    load = WebSocketLoad(port, lanes(port), plans.ACTION_RESPONSE, lambda: sum(counts.values()))
    try:
        sample = await asyncio.to_thread(load.run, in_flight, 0.05)
    finally:
        await runner.cleanup()

    assert sample.calls == load.total() >= in_flight
    assert seen == meant


async def test_a_frame_that_is_no_answer_ends_the_run() -> None:
    runner, port = await serving(answering(lambda _: b"\x02\x00\x01an error"))
    load = WebSocketLoad(port, lanes(port), plans.ACTION_RESPONSE, lambda: 0)
    try:
        with pytest.raises(LoadError, match="answered 020001"):
            await asyncio.to_thread(load.run, 2, 0.05)
    finally:
        await runner.cleanup()


def test_a_machine_without_a_compiler_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    program.program.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(Missing, match="no C compiler"):
        program.program()
    program.program.cache_clear()


def test_percentiles_are_of_all_and_in_microseconds() -> None:
    told = percentiles([number / 1e6 for number in range(101)])

    assert told["50"] == pytest.approx(50)
    assert told["99"] == pytest.approx(99)
    assert told["100"] == pytest.approx(100)
    assert percentiles([2e-6])["99"] == pytest.approx(2)


def test_a_load_in_a_process_is_asked_by_lines_and_may_log_between_them(tmp_path: Path) -> None:
    script = """
import json, sys
print("starting\\n{}", flush=True)
for line in sys.stdin:
    print("level=info about to answer")
    asked = json.loads(line)
    if asked.get("total"):
        print('{"total": 7}', flush=True)
    else:
        print(json.dumps({"calls": asked["in_flight"], "seconds": asked["seconds"],
                          "cpu_seconds": 0.5, "percentiles": {"50": 1.0}}), flush=True)
"""
    with group(tmp_path / "log") as processes:
        load = Lines(processes, [sys.executable, "-c", script], tmp_path)

        assert load.run(3, 2.0) == Sample(3, 2.0, 0.5, {"50": 1.0})
        assert load.total() == 7


def test_a_load_that_ends_or_hangs_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(driver, "PATIENCE_S", 0.01)
    for script in ("", "import time; time.sleep(60)"):
        with (
            group(tmp_path / "log") as processes,
            pytest.raises(LoadError, match="has ended"),
        ):
            Lines(processes, [sys.executable, "-c", script], tmp_path)
