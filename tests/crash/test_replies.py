"""What was answered before a crash is answered again in the same bytes, and runs once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from holdfast import ActorError, Client
from holdfast.v1 import actor_pb2
from holdfast.v1 import actor_service_pb2 as pb
from tests.crash.actors import Ledger
from tests.crash.history import History
from tests.crash.oracle import check
from tests.crash.plan import Plan
from tests.crash.process import PATIENCE_S, ServerProcess
from tests.crash.raw import Answer, answer_to, invocation, key_of, open_channel, open_stub
from tests.crash.scenario import running


class Told(NamedTuple):
    """The answers to one request: before the crash, and twice after it."""

    before: Answer
    after: tuple[Answer, Answer]


def by_id(answer: Answer) -> actor_pb2.ActorTarget:
    return actor_pb2.ActorTarget(actor_id=answer.response.actor.actor_id)


async def ask_over_a_crash(plan: Plan) -> dict[str, Told]:
    """Every kind of mutating request, answered, and tried again after SIGKILL."""
    asked: dict[str, tuple[Callable[..., Any], Any, Answer]] = {}
    server = await ServerProcess.start(plan)
    channel = open_channel(server.address)
    try:
        stub = open_stub(channel)

        async def ask(name: str, call: Callable[..., Any], request: Any) -> Answer:
            request.idempotency_key = name
            answer = await answer_to(call, request)
            asked[name] = (call, request, answer)
            return answer

        created = [
            await ask(f"create {name}", stub.CreateActor, pb.CreateActorRequest(actor=key_of(name)))
            for name in ("kept", "by key", "by id")
        ]
        found = pb.GetOrCreateActorRequest(actor=key_of("found"))
        await ask("get or create", stub.GetOrCreateActor, found)
        await ask("action", stub.InvokeAction, invocation("kept", "add", 1))
        await ask("user error", stub.InvokeAction, invocation("kept", "refuse", 2, []))
        through_id = invocation("by id", "add", 3)
        through_id.target.CopyFrom(by_id(created[2]))
        await ask("action by id", stub.InvokeAction, through_id)
        target = actor_pb2.ActorTarget(get=key_of("by key"))
        await ask("destroy by key", stub.DestroyActor, pb.DestroyActorRequest(target=target))
        target = by_id(created[2])
        await ask("destroy by id", stub.DestroyActor, pb.DestroyActorRequest(target=target))
        server.kill()
        await server.dead()
        server = await ServerProcess.start(plan.at(None, port=server.port))
        return {
            name: Told(before, (await answer_to(call, request), await answer_to(call, request)))
            for name, (call, request, before) in asked.items()
        }
    finally:
        await channel.close()
        await server.discard()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Told]:
    return asyncio.run(ask_over_a_crash(Plan(data=str(tmp_path_factory.mktemp("told") / "data"))))


@pytest.mark.parametrize(
    "name",
    [
        "create kept",
        "create by key",
        "create by id",
        "get or create",
        "action",
        "user error",
        "action by id",
        "destroy by key",
        "destroy by id",
    ],
)
def test_a_retry_after_a_crash_is_answered_with_the_same_bytes(
    told: Mapping[str, Told], name: str
) -> None:
    before, after = told[name]

    assert (before.error is not None) == (name == "user error")
    assert [answer.data for answer in after] == [before.data] * 2


def sequence(number: int, acknowledged_below: int) -> actor_pb2.ClientSequence:
    return actor_pb2.ClientSequence(
        client_id=b"c" * 16, number=number, acknowledged_below=acknowledged_below
    )


async def test_a_number_that_was_acknowledged_is_refused_after_a_crash_too(data: str) -> None:
    one = invocation("a", "add", 1, client_sequence=sequence(1, 1))
    two = invocation("a", "add", 2, client_sequence=sequence(2, 2))
    codes = []
    server = await ServerProcess.start(Plan(data=data))
    channel = open_channel(server.address)
    try:
        stub = open_stub(channel)
        for request in (one, two, one):
            answer = await answer_to(stub.InvokeAction, request)
            codes.append(answer.error.code if answer.error else answer.value)
        server.kill()
        await server.dead()
        server = await ServerProcess.start(Plan(data=data, port=server.port))
        answer = await answer_to(stub.InvokeAction, one)
        codes.append(answer.error.code if answer.error else answer.value)
    finally:
        await channel.close()
        await server.discard()

    assert codes == [1, 2, "key_expired", "key_expired"]


async def perish(plan: Plan, **key: Any) -> list[str]:
    """Die between the two commits of a keyed turn, and try it again; what the oracle says."""
    history = History()
    operation = history.begin("a", "perish", parts=2)
    request = invocation("a", "perish", operation.tag, **key)
    server = await ServerProcess.start(plan)
    channel = open_channel(server.address)
    try:
        stub = open_stub(channel)
        trying = asyncio.create_task(answer_to(stub.InvokeAction, request))
        await server.dead()
        server = await ServerProcess.start(Plan(data=plan.data, build=plan.build, port=server.port))
        for answer in (await trying, await answer_to(stub.InvokeAction, request)):
            history.answer(operation, answer.data)
            if answer.error is None:
                history.acknowledge(operation, answer.value)
            else:
                history.fail(operation, answer.error)
        async with Client(server.address) as client:
            found = await client.get(Ledger, ["a"]).found()
    finally:
        await channel.close()
        await server.discard()
    return check(history, {"a": found})


KEYS: tuple[dict[str, Any], ...] = (
    {"idempotency_key": "own"},
    {"client_sequence": sequence(7, 3)},
)


@pytest.mark.parametrize("key", KEYS, ids=["own key", "number"])
async def test_a_turn_cut_short_after_its_first_commit_never_runs_again(
    data: str, key: dict[str, Any]
) -> None:
    assert await perish(Plan(data=data, deadly=True), **key) == []


async def test_a_build_that_forgets_the_first_commit_is_caught(data: str) -> None:
    violations = await perish(Plan(data=data, deadly=True, build="unstarted"), **KEYS[0])

    assert "1.1 of a took effect 2 times" in violations


async def test_the_sdk_says_that_a_turn_was_cut_short(tmp_path: Path) -> None:
    plan = Plan(data=str(tmp_path / "data"), deadly=True)
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        trying = asyncio.create_task(client.get_or_create(Ledger, ["a"]).perish(1))
        await server.dead()
        async with running(Plan(data=plan.data, port=server.port)):
            with pytest.raises(ActorError) as caught:
                await trying
            assert (await client.get(Ledger, ["a"]).found()).entries == ["1.1"]

    assert (caught.value.group, caught.value.code) == ("action", "turn_interrupted")
