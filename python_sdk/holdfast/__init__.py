"""Holdfast: durable actors in Python, and the client that calls them."""

from holdfast.actor import Actor, action
from holdfast.client import Client
from holdfast.context import Context, Kv
from holdfast.errors import ActorError, HoldfastError, UserError
from holdfast.registry import Registry, setup
from holdfast.tls import TlsConfig

__all__ = [
    "Actor",
    "ActorError",
    "Client",
    "Context",
    "HoldfastError",
    "Kv",
    "Registry",
    "TlsConfig",
    "UserError",
    "action",
    "setup",
]
