"""Holdfast: durable actors in Python, and the client that calls them."""

from holdfast.actor import Actor, action
from holdfast.client import ActorInfo, Client
from holdfast.context import AbortSignal, Context, Kv
from holdfast.errors import (
    ActorError,
    DecodeError,
    EncodeError,
    HoldfastError,
    RegistrationError,
    UserError,
)
from holdfast.registry import Registry, setup
from holdfast.tls import TlsConfig

__all__ = [
    "AbortSignal",
    "Actor",
    "ActorError",
    "ActorInfo",
    "Client",
    "Context",
    "DecodeError",
    "EncodeError",
    "HoldfastError",
    "Kv",
    "RegistrationError",
    "Registry",
    "TlsConfig",
    "UserError",
    "action",
    "setup",
]
