"""What clients and the server say to each other, in whatever encoding it travels.

Values are the core's: what clients send is in an encoding that the runtime takes, and what
they are sent may be in any; asked for in RESULT_ENCODING it costs least and loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.wire.errors import WireError

RESULT_ENCODING: Final = Encoding.JAVASCRIPT
"""What results and events are to be asked for in."""

TAGGED_VERSION: Final = 4
"""BARE messages of this version or later come from clients that tag values inside CBOR."""


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """Run an action; `args` is an array.

    `refused` says why the arguments cannot be handed over where they cannot: since the id
    is known, that is the answer to this action and no fault of the connection. `version`
    is that of a BARE message, 0 in other encodings.
    """

    id: int
    name: str
    args: Value
    refused: WireError | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """Send the events of a name, or send them no longer; it is not answered."""

    event_name: str
    subscribe: bool
    version: int = 0


ToServer = ActionRequest | SubscriptionRequest


@dataclass(frozen=True, slots=True)
class Init:
    """The first frame of a connection."""

    actor_id: str
    connection_id: str


@dataclass(frozen=True, slots=True)
class Error:
    """An action has failed, or, without `action_id`, the connection has."""

    group: str
    code: str
    message: str
    metadata: Value | None = None
    action_id: int | None = None


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """The result of the action that the client gave this id."""

    id: int
    output: Value


@dataclass(frozen=True, slots=True)
class Event:
    """An event; `args` is an array."""

    name: str
    args: Value


ToClient = Init | Error | ActionResponse | Event


@dataclass(frozen=True, slots=True)
class HttpActionRequest:
    """The body of POST /action/{name}; see ActionRequest."""

    args: Value
    refused: WireError | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class HttpActionResponse:
    """The body of its answer."""

    output: Value


@dataclass(frozen=True, slots=True)
class HttpResponseError:
    """The body of every answer that is no success."""

    group: str
    code: str
    message: str
    metadata: Value | None = None


@dataclass(frozen=True, slots=True)
class HttpQueueSendRequest:
    """The body of POST /queue/{name}; `name` is that of the path where the body has none."""

    body: Value
    name: str | None = None
    wait: bool = False
    timeout_ms: int | None = None
    refused: WireError | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class HttpQueueSendResponse:
    """The body of its answer: "completed" or "timedOut", and the response if there is one."""

    status: str
    response: Value | None = None


__all__ = [
    "RESULT_ENCODING",
    "TAGGED_VERSION",
    "ActionRequest",
    "ActionResponse",
    "Error",
    "Event",
    "HttpActionRequest",
    "HttpActionResponse",
    "HttpQueueSendRequest",
    "HttpQueueSendResponse",
    "HttpResponseError",
    "Init",
    "SubscriptionRequest",
    "ToClient",
    "ToServer",
]
