"""What every part of the gateway works with: the node, its limits, who may call."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast_server.core.limits import Limits
from holdfast_server.gateway.guard import Guard
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.procedures import Procedures


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`version` is that of the server, as it tells it; `procedures` are its RPCs."""

    node: Node
    limits: Limits
    namespaces: frozenset[str]
    calls: Calls
    guard: Guard
    version: str
    procedures: Procedures
