"""holdfast.v1.ActorService over the runtime."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf import json_format, struct_pb2

from holdfast.v1 import actor_pb2, actor_service_pb2, actor_service_pb2_grpc
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import check_name, format_actor_id, parse_actor_id
from holdfast_server.core.limits import Limits
from holdfast_server.rpc.convert import Converter, actor_of, fill_payload, payload_of
from holdfast_server.rpc.guard import Context, streaming, unary
from holdfast_server.rpc.trace import trace_of
from holdfast_server.runtime import lifecycle
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.store.keys import directory_prefix

pb = actor_service_pb2


class ActorService(actor_service_pb2_grpc.ActorServiceServicer):
    """Creates, finds, calls and destroys actors."""

    def __init__(self, node: Node, converter: Converter, limits: Limits, calls: Calls) -> None:
        self.calls = calls
        self._node = node
        self._convert = converter
        self._limits = limits

    @unary
    async def CreateActor(
        self, request: pb.CreateActorRequest, context: Context
    ) -> pb.CreateActorResponse:
        actor, _ = await self._make(request, context, lifecycle.CREATE)
        return pb.CreateActorResponse(actor=actor)

    @unary
    async def GetOrCreateActor(
        self, request: pb.GetOrCreateActorRequest, context: Context
    ) -> pb.GetOrCreateActorResponse:
        actor, created = await self._make(request, context, lifecycle.GET_OR_CREATE)
        return pb.GetOrCreateActorResponse(actor=actor, created=created)

    @unary
    async def GetActor(self, request: pb.GetActorRequest, context: Context) -> pb.GetActorResponse:
        if bool(request.actor_id) == request.HasField("actor"):
            raise invalid("actor_id", "exactly one of actor_id and actor is required")
        if request.actor_id:
            namespace = self._convert.namespace(request.namespace)
            target = Target(actor_id=parse_actor_id(request.actor_id), namespace=namespace)
        else:
            address = self._convert.address(request.namespace, request.actor, "actor")
            target = Target(address=address)
        return pb.GetActorResponse(actor=actor_of(*await self._node.lookup.get(target)))

    @unary
    async def ListActors(
        self, request: pb.ListActorsRequest, context: Context
    ) -> pb.ListActorsResponse:
        check_name(request.name, "name")
        namespace = self._convert.namespace(request.namespace)
        size = page_size(request.page_size, self._limits)
        prefix = self._convert.key(request.key_prefix, "key_prefix")
        after = page_token(request.page_token)
        if after and not after.startswith(directory_prefix(namespace, request.name, prefix)):
            raise foreign_token()
        rows, following = await self._node.lookup.list_actors(
            namespace, request.name, prefix, after, size
        )
        return pb.ListActorsResponse(
            actors=[actor_of(*row) for row in rows], next_page_token=following.hex()
        )

    @unary
    async def DestroyActor(
        self, request: pb.DestroyActorRequest, context: Context
    ) -> pb.DestroyActorResponse:
        call = Call(
            target=self._convert.target(request.namespace, request.target, create=False),
            action=lifecycle.DESTROY,
            key=self._convert.idempotency(request, context),
            deadline=self._convert.deadline(context),
            trace=trace_of(context),
            auth=self._convert.identity(context),
        )
        actor_id = await self._node.destroy(call)
        return pb.DestroyActorResponse(actor_id=format_actor_id(actor_id))

    @unary
    async def InvokeAction(
        self, request: pb.InvokeActionRequest, context: Context
    ) -> pb.InvokeActionResponse:
        answer = await self._node.invoke(self._convert.call(request, context))
        # Filled in place, since every call pays for it: a message made for it costs more.
        response = pb.InvokeActionResponse()
        fill_payload(response.result, answer.value)
        response.durability = int(answer.durability)  # type: ignore[assignment]
        response.replayed = answer.replayed
        response.actor_id = format_actor_id(answer.actor_id)
        return response

    @streaming
    async def StreamAction(
        self, request: pb.StreamActionRequest, context: Context
    ) -> AsyncGenerator[pb.StreamActionResponse, None]:
        async with aclosing(self._node.stream(self._convert.call(request, context))) as items:
            async for item in items:
                yield pb.StreamActionResponse(items=[payload_of(item)])

    @unary
    async def DescribeActors(
        self, request: pb.DescribeActorsRequest, context: Context
    ) -> pb.DescribeActorsResponse:
        self._convert.namespace(request.namespace)
        rows = self._node.describe(request.name)
        return pb.DescribeActorsResponse(actors=[_description(row) for row in rows])

    async def _make(
        self, request: Any, context: Context, action: str
    ) -> tuple[actor_pb2.Actor, bool]:
        given = None
        if request.HasField("input"):
            given = self._convert.value(request.input, "input", self._limits.input_bytes_max)
        address = self._convert.address(request.namespace, request.actor, "actor")
        call = Call(
            target=Target(address=address, create=True, input=given),
            action=action,
            args=given,
            key=self._convert.idempotency(request, context),
            deadline=self._convert.deadline(context),
            trace=trace_of(context),
            auth=self._convert.identity(context),
        )
        actor_id, record, created = await self._node.create(call)
        return actor_of(actor_id, record), created


def page_size(asked: int, limits: Limits) -> int:
    if asked < 0 or asked > limits.page_size_max:
        raise invalid("page_size", f"is {asked}", limit=limits.page_size_max)
    return asked or 100


def page_token(token: str) -> bytes:
    try:
        return bytes.fromhex(token)
    except ValueError:
        raise foreign_token() from None


def foreign_token() -> HoldfastError:
    return invalid("page_token", "is not from this list")


def _struct(schema: Any) -> struct_pb2.Struct | None:
    if schema is None:
        return None
    return json_format.ParseDict(schema, struct_pb2.Struct())


def _description(row: Any) -> pb.ActorDescription:
    description = pb.ActorDescription(
        name=row["name"],
        description=row["description"],
        input_schema=_struct(row["input_schema"]),
    )
    for action in row["actions"]:
        description.actions.append(
            pb.ActionDescription(
                name=action["name"],
                description=action["description"],
                arguments_schema=_struct(action["arguments_schema"]),
                result_schema=_struct(action["result_schema"]),
                read_only=action["read_only"],
                streaming=action["streaming"],
                parameters=action["parameters"],
            )
        )
    for event in row["events"]:
        description.events.append(
            pb.EventDescription(
                name=event["name"],
                arguments_schema=_struct(event["arguments_schema"]),
                ephemeral=event["ephemeral"],
            )
        )
    return description
