"""`holdfast dev app.py`: serves, restarts on a change with its state, never in a loop."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from holdfast import ActorError, Client
from holdfast_server.dev import main
from holdfast_server.dev_child import hints
from tests.server.actors import registry
from tests.server.process import COUNTER, Process
from tests.server_process import free_port

CLI = ["-c", "from holdfast.cli import main; main()"]


class Dev(Process):
    """`holdfast dev app.py` in a directory, on a free port."""

    def __init__(self, directory: Path, source: str) -> None:
        self.app = directory / "app.py"
        self.app.write_text(source)
        self.address = f"127.0.0.1:{free_port()}"
        self._seen = 0
        flags = ["--grpc", self.address, "--admin", "off", "--data", "data"]
        super().__init__([*CLI, "dev", "app.py", *flags], directory)

    async def expect(self, text: str) -> str:
        """The next line with this text, after those that were expected before."""
        line = await asyncio.to_thread(self.wait_for, text, after=self._seen)
        self._seen = self.lines.index(line, self._seen) + 1
        return line


async def test_a_change_restarts_with_state_kept_and_a_mistake_waits_for_the_next(
    tmp_path: Path,
) -> None:
    with Dev(tmp_path, COUNTER) as dev:
        await dev.expect(f"Holdfast serves gRPC on {dev.address}, data in data")
        await dev.expect("counter: increment, value")
        await dev.expect(f"holdfast --server {dev.address} call counter demo increment")
        async with Client(dev.address, timeout=20) as client:
            counter = client.get_or_create("counter", "a")
            assert await counter.action("increment", 2) == 2

            dev.app.write_text(COUNTER.replace("value += by", "value += 10 * by"))
            await dev.expect("app.py changed, restarting")
            await dev.expect("drained")
            await dev.expect("serves gRPC on")
            assert await counter.action("increment", 2) == 22

            dev.app.write_text(COUNTER + "\ndef (")
            await dev.expect("app.py changed, restarting")
            await dev.expect("error: cannot import app.py")
            await dev.expect("SyntaxError")
            await dev.expect("the server ended with code 2; it starts again on a change")
            with pytest.raises(ActorError):
                await counter.with_options(timeout=0.1).action("value")

            (tmp_path / "helper.py").write_text("x = 1\n")
            await dev.expect("helper.py changed, restarting")
            await dev.expect("the server ended with code 2")
            dev.app.write_text(COUNTER)
            await dev.expect("serves gRPC on")
            assert await counter.action("increment") == 23

        dev.signal(signal.SIGINT)
        assert await asyncio.to_thread(dev.wait) == 0
        await dev.expect("drained")
    assert "Traceback" not in dev.output


async def test_the_server_drains_when_its_parent_is_killed(tmp_path: Path) -> None:
    with Dev(tmp_path, COUNTER) as dev:
        await dev.expect("serves gRPC on")
        dev.signal(signal.SIGKILL)

        # The output ends when the last process that writes to it has ended.
        assert await asyncio.to_thread(dev.wait) == -signal.SIGKILL
        await dev.expect("drained")
        assert dev.silent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py"], "there is no file none.py"),
        (["app.py", "--mailbox-max", "0"], "--mailbox-max: '0' must be at least 1"),
        (["app.py", "--mailbx", "1"], "unrecognized arguments: --mailbx 1"),
        (["app.py", "--grpc", "0.0.0.0:1"], "--insecure"),
    ],
)
def test_wrong_usage_is_said_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "app.py").write_text(COUNTER)
    monkeypatch.chdir(tmp_path)

    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code

    assert code == 2
    assert message in capfd.readouterr().err


def test_the_commands_to_try_have_their_required_arguments() -> None:
    shown = hints(registry, 6430)

    assert "  counter: ask, cheat, circle" in shown
    assert "  holdfast call counter demo ask '\"hello\"'" in shown
    assert "  holdfast actors list counter" in shown
