"""URLs of actors at the gateway, in the form that RivetKit's clients use.

An actor is named by its id, `/gateway/{id}/request/...`, or, where that is clear, by its
name and key in parameters that begin with `rvt-`. A key is joined by commas there: one with
a comma in a part, or of one empty part, would be another key.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from holdfast._transport import Target

REQUEST: Final = "/request"
WEBSOCKET: Final = "/websocket"


def check_gateway(url: str | None) -> str | None:
    """A gateway's URL without the "/" at its end; TypeError or ValueError for what is none."""
    if url is None:
        return None
    if not isinstance(url, str):
        raise TypeError(f"a gateway is a URL, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"gateway {url!r}: write http://host:port or https://host:port")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(f"gateway {url!r}: no user, query or fragment; give a token as `token`")
    return url.rstrip("/")


def names_itself(target: Target) -> bool:
    """Whether a URL can name this actor without its id."""
    if target.actor_id is not None:
        return True
    clear = target.key != ("",) and not any("," in part for part in target.key)
    return clear and target.input is None


def actor_url(gateway: str, namespace: str, target: Target, rest: str = "") -> str:
    """The URL of an actor, and of `rest`, path and query, below it.

    The target has an id, or is one that `names_itself`.
    """
    path, _, query = rest.partition("?")
    if target.actor_id is not None:
        mark = "?" if "?" in rest else ""
        return f"{gateway}/gateway/{quote(target.actor_id, safe='')}{path}{mark}{query}"
    pairs = [
        ("rvt-namespace", namespace),
        ("rvt-method", "getOrCreate" if target.create else "get"),
        ("rvt-key", ",".join(target.key)),
    ]
    if target.create:
        pairs += [("rvt-runner", "default"), ("rvt-crash-policy", "sleep")]
    own = f"{query}&" if query else ""
    return f"{gateway}/gateway/{quote(target.name, safe='')}{path}?{own}{urlencode(pairs)}"


def with_token(url: str, token: str | None) -> str:
    """The URL of an actor by its id, for whoever can send no header."""
    return url if token is None else f"{url}@{quote(token, safe='')}"
