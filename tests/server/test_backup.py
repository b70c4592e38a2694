"""Backups of a server that goes on serving, and what is restored of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast import Client
from holdfast.v1 import admin_service_pb2 as pb
from holdfast.v1.admin_service_pb2_grpc import AdminServiceStub
from holdfast_server.__main__ import main
from holdfast_server.app import Server
from holdfast_server.store.backup import names
from holdfast_server.store.verify import verify
from tests.server.actors import Counter
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry as event_registry
from tests.server.listening import Listener, listen
from tests.server.probe import until
from tests.server.test_command_line import invoke
from tests.server.wire import target


async def take(server: Server) -> pb.CreateBackupResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.admin_port}") as channel:
        stub: Any = AdminServiceStub(channel)
        answer: pb.CreateBackupResponse = await stub.CreateBackup(
            pb.CreateBackupRequest(), timeout=30
        )
        return answer


async def values(client: Client, keys: range) -> list[int]:
    return [await client.get_or_create(Counter, [str(key)]).value() for key in keys]


async def test_a_backup_under_load_has_all_that_was_acknowledged_before(
    start: Start, tmp_path: Path
) -> None:
    backups, restored, keys = tmp_path / "backups", tmp_path / "restored", range(4)
    server, client = await start(backup_dir=str(backups))
    acknowledged = [0 for _ in keys]
    stopped = False

    async def count(key: int) -> None:
        counter = client.get_or_create(Counter, [str(key)])
        while not stopped:
            acknowledged[key] = await counter.increment()

    running = [asyncio.create_task(count(key)) for key in keys]
    await until(lambda: min(acknowledged) >= 5)
    before = acknowledged[:]
    taken = await take(server)
    after = acknowledged[:]
    stopped = True
    await asyncio.gather(*running)

    assert names(backups) == [taken.name]
    assert (
        await asyncio.to_thread(main, ["restore", "--from", str(backups), "--data", str(restored)])
        == 0
    )
    assert verify(restored) == []
    _, other = await start(data="restored")
    found = await values(other, keys)
    for low, value, high in zip(before, found, after, strict=True):
        # One more may have been under way.
        assert low <= value <= high + 1
    # It goes on from there, and the server that was backed up goes on by itself.
    assert await other.get_or_create(Counter, ["0"]).increment() == found[0] + 1
    assert await client.get_or_create(Counter, ["0"]).value() == acknowledged[0]
    assert not (tmp_path / "data" / "backup.checkpoint").exists()


async def test_the_next_backup_copies_what_is_new_and_both_can_be_restored(
    start: Start, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    server, client = await start(backup_dir=str(backups))
    for key in range(20):
        await client.get_or_create(Counter, [str(key)]).increment()
    first = await take(server)
    assert first.copied_bytes == first.total_bytes > 0
    await client.get_or_create(Counter, ["0"]).increment()
    second = await take(server)
    assert names(backups) == [first.name, second.name]
    assert 0 < second.copied_bytes < second.total_bytes

    for name, value in ((first.name, 1), (second.name, 2)):
        data = str(tmp_path / name)
        command = ["restore", "--from", str(backups), "--backup", name, "--data", data]
        assert await asyncio.to_thread(main, command) == 0
        _, other = await start(data=name)
        assert await other.get_or_create(Counter, ["0"]).value() == value


async def test_a_cursor_of_the_time_before_is_stale_in_what_was_restored(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    backups, room, late = tmp_path / "backups", target("room", "a"), target("room", "b")
    server, _ = await start(event_registry, backup_dir=str(backups))
    wire = connect(server)
    await wire.invoke(late, "hint", "said")
    await wire.invoke(room, "say", "one")
    await take(server)
    cursors = {}
    for name, each in (("room", room), ("late", late)):
        # Of the second one the backup has no event at all.
        reader = await listen(wire, each)
        await wire.invoke(each, "say", "lost")
        await reader.take(1)
        cursors[name] = reader.cursor

    command = ["restore", "--from", str(backups), "--data", str(tmp_path / "restored")]
    assert await asyncio.to_thread(main, command) == 0
    again = connect((await start(event_registry, data="restored"))[0])
    for name, each in (("room", room), ("late", late)):
        # The numbers that were lost are given to other events.
        await again.invoke(each, "say", "another")
        stale = Listener(again, each, after=cursors[name])
        refused = await stale.refusal()
        assert refused.reason == "CURSOR_STALE"
        assert int(refused.metadata["incarnation"]) > cursors[name].incarnation
    everything = await listen(again, room, from_sequence=1)
    assert [line for _, _, (line,) in await everything.take(2)] == ["one", "another"]


async def test_backups_wait_for_each_other(start: Start, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    server, client = await start(backup_dir=str(backups))
    await client.get_or_create(Counter, ["0"]).increment()

    taken = await asyncio.gather(*(take(server) for _ in range(3)))
    assert names(backups) == sorted(each.name for each in taken)


async def test_without_a_directory_there_are_none(start: Start) -> None:
    server, _ = await start()
    admin = f"127.0.0.1:{server.admin_port}"
    told = await asyncio.to_thread(invoke, "--json", "backup", "--admin", admin)
    assert (told.code, told.error["reason"]) == (1, "BACKUP_OFF")


async def test_a_backup_that_fails_says_why_and_the_server_goes_on(
    start: Start, tmp_path: Path
) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_bytes(b"a cat")
    server, client = await start(backup_dir=str(foreign))
    counter = client.get_or_create(Counter, ["0"])
    await counter.increment()
    admin = f"127.0.0.1:{server.admin_port}"

    told = await asyncio.to_thread(invoke, "--json", "backup", "--admin", admin)
    assert (told.code, told.error["reason"]) == (1, "BACKUP_FAILED")
    assert "neither empty nor a directory of backups" in told.error["message"]
    assert [path.name for path in foreign.iterdir()] == ["cat.jpg"]
    assert await counter.increment() == 2
    assert not (tmp_path / "data" / "backup.checkpoint").exists()


async def test_the_commands(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backups = tmp_path / "backups"
    server, client = await start(backup_dir=str(backups))
    await client.get_or_create(Counter, ["0"]).increment()
    admin = f"127.0.0.1:{server.admin_port}"
    told = await asyncio.to_thread(invoke, "--json", "backup", "--admin", admin)
    assert told.code == 0, told.err
    name = json.loads(told.out)["backup"]

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["restore", "--from", str(backups), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    assert run("--list") == (0, f"{name}\n", "")
    scratch = tmp_path / "scratch"
    assert run("--check", str(scratch)) == (0, f"{name} verifies\n", "")
    assert not scratch.exists()
    code, _, said = run("--data", str(tmp_path / "data"))
    assert code == 1
    assert "is not empty; restore into a new directory" in said
    code, _, said = run("--data", str(tmp_path / "new"), "--backup", "yesterday")
    assert (code, f"no backup 'yesterday'; the last is {name}" in said) == (1, True)
