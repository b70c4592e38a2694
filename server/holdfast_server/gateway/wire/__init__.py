"""The wire of RivetKit's clients 2.0 to 2.3: bytes and text to messages and back.

Nothing here does any I/O, keeps state, or knows an HTTP library. The face:

- `codec_for("json" | "cbor" | "bare", tagged=..., limits=...)` gives a Codec. Its
  `decode_to_server` and `encode_to_client` are the frames of a connection, its
  `decode_action_request`, `encode_action_response`, `encode_error`, `decode_queue_request`
  and `encode_queue_response` the bodies of HTTP.
- Messages are the dataclasses of `messages`. Values in them are the core's `Value`: pass
  `ActionRequest.args` on as the arguments of a call, ask for the result and for events in
  RESULT_ENCODING, and give them to the codec as they come.
- Where `refused` is set, the arguments cannot be handed over: answer that error to the
  action. A WireError raised by `decode_...` is one of the whole frame or body.
- A client `tags` values inside CBOR from 2.3 on: make the codec with `tagged=True` where the
  client says so (`User-Agent: RivetKit/2.3`, or `rvt-` parameters), and go on with
  `codec.for_tagged()` once a message has `version >= TAGGED_VERSION`.

- `parse_target` says which actor a URL below /gateway/ is for, `parse_opening` what the
  subprotocols of a WebSocket say, `format_key` and `parse_key` are keys as one string,
  `plain_query` the parameters of the management API, `parse_input` and
  `parse_params_header` an input and connection parameters, `close_reason` the text of a
  close frame, `is_tagged` what a User-Agent tells.

What a result that is larger than the limit of outgoing messages means is for the caller to
say; only what comes in is limited here, by `WireLimits`.
"""

from holdfast_server.gateway.wire.clients import is_tagged
from holdfast_server.gateway.wire.closing import FAILED, NORMAL, close_reason
from holdfast_server.gateway.wire.codec import Codec
from holdfast_server.gateway.wire.codecs import CODECS, codec_for
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.inputs import parse_input, parse_params_header
from holdfast_server.gateway.wire.keys import format_key, parse_key
from holdfast_server.gateway.wire.limits import DEFAULT_LIMITS, WireLimits
from holdfast_server.gateway.wire.messages import (
    RESULT_ENCODING,
    TAGGED_VERSION,
    ActionRequest,
    ActionResponse,
    Error,
    Event,
    HttpActionRequest,
    HttpActionResponse,
    HttpQueueSendRequest,
    HttpQueueSendResponse,
    HttpResponseError,
    Init,
    SubscriptionRequest,
    ToClient,
    ToServer,
)
from holdfast_server.gateway.wire.protocols import Opening, parse_opening
from holdfast_server.gateway.wire.queries import plain_query
from holdfast_server.gateway.wire.targets import (
    DirectTarget,
    QueryTarget,
    Target,
    parse_target,
)

__all__ = [
    "CODECS",
    "DEFAULT_LIMITS",
    "FAILED",
    "NORMAL",
    "RESULT_ENCODING",
    "TAGGED_VERSION",
    "ActionRequest",
    "ActionResponse",
    "Codec",
    "DirectTarget",
    "Error",
    "Event",
    "HttpActionRequest",
    "HttpActionResponse",
    "HttpQueueSendRequest",
    "HttpQueueSendResponse",
    "HttpResponseError",
    "Init",
    "Opening",
    "QueryTarget",
    "SubscriptionRequest",
    "Target",
    "ToClient",
    "ToServer",
    "WireError",
    "WireLimits",
    "close_reason",
    "codec_for",
    "format_key",
    "is_tagged",
    "parse_input",
    "parse_key",
    "parse_opening",
    "parse_params_header",
    "parse_target",
    "plain_query",
]
