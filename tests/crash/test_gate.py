"""While a sync is held, no answer tells of what it would make durable.

A client asks for a change whose sync never ends; others look on in every way
there is. Then the power goes. Whoever was answered in between must have been
told what is there afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio
import pytest

from holdfast.v1 import actor_pb2
from holdfast.v1 import actor_service_pb2 as pb
from holdfast.v1 import kv_service_pb2 as kv
from holdfast.v1.kv_service_pb2_grpc import KvServiceStub
from tests.crash.plan import Kind, Plan, Point, Stage
from tests.crash.process import ServerProcess
from tests.crash.raw import answer_to, invocation, key_of, open_channel, open_stub
from tests.crash.scenario import HELD_S

Probe = Callable[[grpc.aio.Channel, str], Awaitable[str]]


def _existing(ledger: str) -> actor_pb2.ActorTarget:
    return actor_pb2.ActorTarget(get=key_of(ledger))


async def _look(call: Callable[..., Any], request: Any) -> str:
    answer = await answer_to(call, request)
    return answer.error.code if answer.error is not None else "there"


async def _read(channel: grpc.aio.Channel, actor_id: str) -> str:
    request = invocation("a", "last")
    request.target.CopyFrom(_existing("a"))
    return await _look(open_stub(channel).InvokeAction, request)


async def _read_by_id(channel: grpc.aio.Channel, actor_id: str) -> str:
    request = invocation("a", "last")
    request.target.CopyFrom(actor_pb2.ActorTarget(actor_id=actor_id))
    return await _look(open_stub(channel).InvokeAction, request)


async def _change(channel: grpc.aio.Channel, actor_id: str) -> str:
    request = invocation("a", "add", 7)
    request.target.CopyFrom(_existing("a"))
    return await _look(open_stub(channel).InvokeAction, request)


async def _stream(channel: grpc.aio.Channel, actor_id: str) -> str:
    plain = invocation("a", "count", 8, 1)
    request = pb.StreamActionRequest(target=_existing("a"), action="count", args=plain.args)

    async def first(request: Any, **options: Any) -> Any:
        async for response in open_stub(channel).StreamAction(request, **options):
            return response
        raise AssertionError("a stream without an item")

    return await _look(first, request)


async def _get(channel: grpc.aio.Channel, actor_id: str) -> str:
    return await _look(open_stub(channel).GetActor, pb.GetActorRequest(actor=key_of("a")))


async def _create(channel: grpc.aio.Channel, actor_id: str) -> str:
    code = await _look(open_stub(channel).CreateActor, pb.CreateActorRequest(actor=key_of("a")))
    # To be told that there is one already is to be told that it is there.
    return "there" if code == "duplicate_key" else "created"


async def _destroy(channel: grpc.aio.Channel, actor_id: str) -> str:
    request = pb.DestroyActorRequest(target=_existing("a"))
    return await _look(open_stub(channel).DestroyActor, request)


async def _list(channel: grpc.aio.Channel, actor_id: str) -> str:
    answer = await answer_to(open_stub(channel).ListActors, pb.ListActorsRequest(name="ledger"))
    return "there" if answer.response.actors else "not_found"


async def _kv(channel: grpc.aio.Channel, actor_id: str) -> str:
    stub: Any = KvServiceStub(channel)
    return await _look(stub.ListKvEntries, kv.ListKvEntriesRequest(target=_existing("a")))


# In the order in which they may run beside one another: those that would change
# something come after all that only look.
ROUNDS: tuple[dict[str, Probe], ...] = (
    {"read": _read, "read by id": _read_by_id, "get": _get, "list": _list, "kv": _kv},
    {"change": _change, "stream": _stream},
    {"destroy": _destroy},
    {"create": _create},
)


async def look_on(data: str, kind: Kind) -> Mapping[str, str]:
    """Who was told that the actor is there, or is not, and finds it otherwise."""
    point = Point(Stage.HELD_SYNC, kind)
    server = await ServerProcess.start(Plan(data=data, point=point, power=True))
    channel = open_channel(server.address)
    tasks: dict[str, asyncio.Task[str]] = {}
    try:
        actor_id = ""
        if kind is Kind.DESTROY:
            request = pb.CreateActorRequest(actor=key_of("a"))
            created = await answer_to(open_stub(channel).CreateActor, request)
            actor_id = created.response.actor.actor_id
        do = _destroy if kind is Kind.DESTROY else _create
        tasks["doer"] = asyncio.create_task(do(channel, actor_id))
        assert await server.said() == "held"
        for probes in ROUNDS:
            for name, probe in probes.items():
                tasks[name] = asyncio.create_task(probe(channel, actor_id))
            await asyncio.wait(tasks.values(), timeout=HELD_S)
        answers = {name: task.result() for name, task in tasks.items() if task.done()}
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
        server.kill()
        await server.dead()
        await channel.close()
        server = await ServerProcess.start(Plan(data=data))
        channel = open_channel(server.address)
        truth = await _get(channel, actor_id)
    finally:
        await channel.close()
        await server.discard()
    # The cut has undone what was held, or the test has seen nothing.
    assert truth == ("there" if kind is Kind.DESTROY else "not_found")
    return {name: told for name, told in answers.items() if told != truth}


@pytest.fixture(scope="module")
def lies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Kind, Mapping[str, str]]:
    directory = tmp_path_factory.mktemp("gate")
    return {
        kind: asyncio.run(look_on(str(directory / kind), kind))
        for kind in (Kind.CREATE, Kind.DESTROY)
    }


NAMES = ("doer", *(name for probes in ROUNDS for name in probes))


@pytest.mark.parametrize(
    ("kind", "probe"),
    [
        *((Kind.DESTROY, name) for name in NAMES),
        # Nobody knows the id of an actor that is being created.
        *((Kind.CREATE, name) for name in NAMES if name != "read by id"),
    ],
)
def test_nothing_is_told_before_it_is_durable(
    lies: Mapping[Kind, Mapping[str, str]], kind: Kind, probe: str
) -> None:
    assert lies[kind].get(probe) is None
