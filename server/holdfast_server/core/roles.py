"""What each way into the server needs: the one table of roles.

An RPC, a command of a session or an endpoint that is not named here needs `admin`, so that
what is added is closed until somebody decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.auth import Identity, Role
from holdfast_server.core.errors import HoldfastError

_READ, _CALL, _ADMIN = Role.READ, Role.CALL, Role.ADMIN

_SERVICES: Final[Mapping[str, Mapping[str, Role]]] = {
    "holdfast.v1.ActorService": {
        "CreateActor": _CALL,
        "GetOrCreateActor": _CALL,
        "GetActor": _READ,
        "ListActors": _READ,
        "DestroyActor": _CALL,
        "InvokeAction": _CALL,
        "StreamAction": _CALL,
        "DescribeActors": _READ,
    },
    "holdfast.v1.KvService": {"GetKvEntries": _READ, "ListKvEntries": _READ},
    "holdfast.v1.EventService": {"SubscribeEvents": _READ},
    # Its commands have roles of their own.
    "holdfast.v1.SessionService": {"OpenSession": _READ},
    "holdfast.v1.ScheduleService": {
        "ListSchedules": _READ,
        "GetSchedule": _READ,
        "GetScheduleHistory": _READ,
        "CancelSchedule": _CALL,
        "RunScheduleNow": _CALL,
        "PauseSchedule": _CALL,
        "ResumeSchedule": _CALL,
        "ListDeadSchedules": _ADMIN,
        "RerunDeadSchedule": _ADMIN,
        "DiscardDeadSchedule": _ADMIN,
    },
    "holdfast.v1.DeadLetterService": {
        "ListDeadLetters": _ADMIN,
        "RetryDeadLetter": _ADMIN,
        "DiscardDeadLetter": _ADMIN,
    },
    "holdfast.v1.AdminService": {"Explain": _ADMIN, "CreateBackup": _ADMIN},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _READ},
    # What it tells is of every connection, whosever it is.
    "grpc.channelz.v1.Channelz": {
        "GetTopChannels": _ADMIN,
        "GetServers": _ADMIN,
        "GetServer": _ADMIN,
        "GetServerSockets": _ADMIN,
        "GetChannel": _ADMIN,
        "GetSubchannel": _ADMIN,
        "GetSocket": _ADMIN,
    },
}
RPCS: Final[Mapping[str, Role]] = {
    f"/{service}/{method}": role
    for service, methods in _SERVICES.items()
    for method, role in methods.items()
}
# Commands of a session that open a stream.
COMMANDS: Final[Mapping[str, Role]] = {"call": _CALL, "connect": _CALL, "subscribe": _READ}
# Operations of the gateway.
ENDPOINTS: Final[Mapping[str, Role]] = {
    "list": _READ,
    "get_or_create": _CALL,
    "create": _CALL,
    "names": _READ,
    "destroy": _CALL,
    "kv": _READ,
    "act": _CALL,
    "send": _CALL,
    "request": _CALL,
    "connect": _CALL,
    "websocket": _CALL,
    "metrics": _READ,
}
# What tells of every namespace at once.
_WIDE: Final = (
    "/grpc.channelz.v1.Channelz/",
    "/holdfast.v1.AdminService/CreateBackup",
    "metrics",
)


def role_of_rpc(path: str) -> Role:
    """The role that an RPC needs, by its path "/service/method"."""
    return RPCS.get(path, _ADMIN)


def role_of_command(name: str) -> Role:
    """The role that a command of a session needs."""
    return COMMANDS.get(name, _ADMIN)


def role_of_endpoint(operation: str) -> Role:
    """The role that an operation of the gateway needs."""
    return ENDPOINTS.get(operation, _ADMIN)


def check_wide(identity: Identity, what: str) -> None:
    """FORBIDDEN where `what`, an RPC or an operation, tells of every namespace, and the caller
    may use some of them only."""
    if identity.namespaces is not None and what.startswith(_WIDE):
        raise HoldfastError(
            errors.FORBIDDEN,
            f"{what[:128]} tells of every namespace; this caller may use some of them only",
            metadata={"namespace": "*"},
        )


def check_subscribe(identity: Identity | None, *, creates: bool) -> None:
    """FORBIDDEN for who may only read, and would make the actor by subscribing to it."""
    if creates and identity is not None:
        identity.check_role(_CALL, "subscribing with get_or_create")
