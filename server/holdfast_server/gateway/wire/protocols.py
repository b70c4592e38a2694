"""What a client says when it opens a WebSocket, which is in its list of subprotocols."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holdfast_server.core.values import Value
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.inputs import parse_params_protocol
from holdfast_server.gateway.wire.limits import WireLimits
from holdfast_server.gateway.wire.queries import unquote

STANDARD: Final = "rivet"
_SKIP_READY_WAIT: Final = "rivet_skip_ready_wait"
_PREFIXES: Final = {
    "rivet_encoding.": "encoding",
    "rivet_target.": "target",
    "rivet_actor.": "actor",
    "rivet_token.": "token",
    "rivet_conn_params.": "params",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the subprotocols of a WebSocket say; all of it is optional.

    `answer` is the subprotocol to accept, without which clients that offer it drop the
    connection. `actor_id` is set where `target` is "actor". What is not known is ignored.
    """

    answer: str | None = None
    encoding: str | None = None
    target: str | None = None
    actor_id: str | None = None
    token: str | None = None
    params: Value | None = None
    skip_ready_wait: bool = False


def parse_opening(headers: Iterable[str], limits: WireLimits) -> Opening:
    """Reads the values of all Sec-WebSocket-Protocol headers; raises WireError."""
    said: dict[str, str] = {}
    answer, skip = None, False
    for header in headers:
        for offered in header.split(","):
            protocol = offered.strip(" \t")
            if protocol == STANDARD:
                answer = STANDARD
            elif protocol == _SKIP_READY_WAIT:
                skip = True
            else:
                _take(protocol, said)
    params = said.get("params")
    return Opening(
        answer=answer,
        encoding=said.get("encoding"),
        target=said.get("target"),
        actor_id=_decoded(said, "actor"),
        token=_decoded(said, "token"),
        params=None if params is None else parse_params_protocol(params, limits),
        skip_ready_wait=skip,
    )


def _take(protocol: str, said: dict[str, str]) -> None:
    for prefix, name in _PREFIXES.items():
        if protocol.startswith(prefix):
            if name in said:
                raise WireError("given twice", field=prefix.removesuffix("."))
            said[name] = protocol.removeprefix(prefix)


def _decoded(said: dict[str, str], name: str) -> str | None:
    return unquote(said[name], f"rivet_{name}") if name in said else None


__all__ = ["STANDARD", "Opening", "parse_opening"]
