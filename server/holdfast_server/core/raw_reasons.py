"""The part of the catalogue of errors that raw HTTP and WebSockets add."""

from __future__ import annotations

from holdfast_server.core.reason import Reason

HANDLER_REQUEST_NOT_DEFINED = Reason(
    "HANDLER_REQUEST_NOT_DEFINED",
    "handler",
    "request_not_defined",
    "NOT_FOUND",
    "the actor has no on_request",
)
HANDLER_WEBSOCKET_NOT_DEFINED = Reason(
    "HANDLER_WEBSOCKET_NOT_DEFINED",
    "handler",
    "websocket_not_defined",
    "NOT_FOUND",
    "the actor has no on_websocket",
)
HANDLER_INVALID_RESPONSE = Reason(
    "HANDLER_INVALID_RESPONSE",
    "handler",
    "invalid_request_handler_response",
    "INTERNAL",
    "on_request returned no response; the turn was rolled back",
)
