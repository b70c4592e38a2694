"""holdfast.v1.AdminService: how a server and its actors are; on the admin port only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1 import actor_pb2, admin_service_pb2, admin_service_pb2_grpc
from holdfast_server.core.ids import Address, format_actor_id
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.guard import Context, unary
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.explain import Explanation, TurnState, explain
from holdfast_server.runtime.node import Node
from holdfast_server.store.backup import Backup

pb = admin_service_pb2

TakeBackup = Callable[[], Awaitable[Backup]]


class AdminService(admin_service_pb2_grpc.AdminServiceServicer):
    """Answers operators."""

    def __init__(self, node: Node, converter: Converter, calls: Calls, backup: TakeBackup) -> None:
        self.calls = calls
        self._node = node
        self._convert = converter
        self._backup = backup

    @unary
    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        target = self._convert.target(request.namespace, request.target, create=False)
        return _response(explain(self._node, target))

    @unary
    async def CreateBackup(
        self, request: pb.CreateBackupRequest, context: Context
    ) -> pb.CreateBackupResponse:
        name, size, copied = await self._backup()
        return pb.CreateBackupResponse(name=name, total_bytes=size, copied_bytes=copied)


def _response(found: Explanation) -> pb.ExplainResponse:
    address = found.address
    answer = pb.ExplainResponse(
        actor=actor_pb2.Actor(name=address.name, key=address.key, namespace=address.namespace),
        phase=int(found.phase),  # type: ignore[arg-type]
        epoch=found.epoch,
        calls=found.calls,
        running=[_turn(each) for each in found.running],
        waiting=[_turn(each) for each in found.waiting],
        waiting_count=found.waiting_count,
        waiting_max=found.waiting_max,
        work=[pb.WorkState(work=work, count=count) for work, count in found.work.items()],
        schedules=found.schedules,
        last_commit_synced=found.last_commit_synced,
        last_sequence=found.last_sequence,
        subscriber_count=found.subscriber_count,
        connections_attached=found.connections_attached,
        connections_waiting=found.connections_waiting,
        state_bytes=found.state_bytes,
        kv_bytes=found.kv_bytes,
        event_bytes=found.event_bytes,
        undelivered_sends=found.undelivered_sends,
    )
    if found.actor_id:
        answer.actor.actor_id = format_actor_id(found.actor_id)
        answer.actor.created_at.FromMilliseconds(found.created_at_ms)
    for reason, count in found.awake:
        answer.awake.add(reason=reason.value, count=count)
    for names, sequence, lag, phase, credit in found.subscribers:
        answer.subscribers.add(
            names=names, sequence=sequence, lag=lag, phase=phase, credit_bytes=credit
        )
    _put_time(answer.sleeps_at, found.sleeps_at_ms)
    _put_time(answer.next_timer_at, found.next_timer_ms)
    _put_time(answer.last_commit_at, found.last_commit_ms)
    if found.last_failure is not None:
        failed = found.last_failure
        answer.last_failure.action = failed.action
        answer.last_failure.code, answer.last_failure.message = failed.code, failed.message
        answer.last_failure.at.FromMilliseconds(failed.at_ms)
    return answer


def _turn(turn: TurnState) -> pb.TurnState:
    return pb.TurnState(
        action=turn.action,
        mode=turn.mode,
        cause=turn.cause,
        waits_for=[_key(each) for each in turn.waits_for],
    )


def _key(address: Address) -> actor_pb2.ActorKey:
    return actor_pb2.ActorKey(name=address.name, key=address.key)


def _put_time(field: Timestamp, at_ms: int | None) -> None:
    if at_ms is not None:
        field.FromMilliseconds(at_ms)
