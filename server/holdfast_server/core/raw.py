"""Raw HTTP requests and WebSockets as the runtime sees them, before their bodies."""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]
"""Names and values in their order, as they came; a name may come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """An HTTP request as its actor sees it, without its body.

    `target` is path and query, percent-encoded as they came, with the part that led to the
    actor taken off; it begins with "/". `content_length` is None where the body's size is
    not known before its end. `subprotocols` are those that a WebSocket client offers.
    """

    method: str
    target: str
    headers: Headers = ()
    scheme: str = "http"
    client: tuple[str, int] | None = None
    content_length: int | None = 0
    subprotocols: tuple[str, ...] = ()
