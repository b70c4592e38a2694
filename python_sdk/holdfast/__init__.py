"""Holdfast: durable actors in Python, and the client that calls them."""

from holdfast.actor import Actor, action
from holdfast.actor_connection import ActorConnection
from holdfast.asgi import asgi_handler
from holdfast.auth import Auth
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
from holdfast.http import ClientDisconnected, Headers, Query, Request, Response
from holdfast.ranges import ranged
from holdfast.registry import Registry, setup
from holdfast.schedule import Fire, Run, Schedule
from holdfast.sse import EventStream, ServerSentEvent, event_stream
from holdfast.tls import TlsConfig
from holdfast.websocket import WebSocket, WebSocketClosed

__all__ = [
    "AbortSignal",
    "Actor",
    "ActorConnection",
    "ActorError",
    "ActorInfo",
    "Auth",
    "BigInt",
    "Client",
    "ClientDisconnected",
    "Connection",
    "Connections",
    "Context",
    "DecodeError",
    "DeliveredEvent",
    "EncodeError",
    "Event",
    "EventStream",
    "EventsTrimmed",
    "Fire",
    "Headers",
    "HoldfastError",
    "Kv",
    "Query",
    "RegistrationError",
    "Registry",
    "Request",
    "Response",
    "Run",
    "Schedule",
    "ServerSentEvent",
    "TlsConfig",
    "UserError",
    "WebSocket",
    "WebSocketClosed",
    "action",
    "asgi_handler",
    "event_stream",
    "ranged",
    "setup",
]
