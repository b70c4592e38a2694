"""Holdfast: durable actors in Python, and the client that calls them."""

from holdfast.actor import Actor, action
from holdfast.actor_connection import ActorConnection
from holdfast.bigint import BigInt
from holdfast.client import ActorInfo, Client
from holdfast.connection import Connection, Connections
from holdfast.context import AbortSignal, Context, Kv
from holdfast.errors import (
    ActorError,
    DecodeError,
    EncodeError,
    HoldfastError,
    RegistrationError,
    UserError,
)
from holdfast.event import Event
from holdfast.events import DeliveredEvent, EventsTrimmed
from holdfast.registry import Registry, setup
from holdfast.schedule import Fire, Run, Schedule
from holdfast.tls import TlsConfig

__all__ = [
    "AbortSignal",
    "Actor",
    "ActorConnection",
    "ActorError",
    "ActorInfo",
    "BigInt",
    "Client",
    "Connection",
    "Connections",
    "Context",
    "DecodeError",
    "DeliveredEvent",
    "EncodeError",
    "Event",
    "EventsTrimmed",
    "Fire",
    "HoldfastError",
    "Kv",
    "RegistrationError",
    "Registry",
    "Run",
    "Schedule",
    "TlsConfig",
    "UserError",
    "action",
    "setup",
]
