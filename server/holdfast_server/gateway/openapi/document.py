"""The document: RPCs from their descriptors, everything else from the table of endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

from holdfast import v1
from holdfast_server.gateway.connect.door import UNGUARDED, UNSUPPORTED_TYPE
from holdfast_server.gateway.connect.told import CODES
from holdfast_server.gateway.endpoints import ALL, ERROR, TEXT, Endpoint, Parameter
from holdfast_server.gateway.failures import METHOD_NOT_ALLOWED, STATUSES
from holdfast_server.gateway.openapi.messages import reference, schemas_of
from holdfast_server.gateway.transport import HEADERS_TOO_LARGE, TIMED_OUT
from holdfast_server.runtime.procedures import Procedure

_JSON: Final = "application/json"
_RPC_ERROR: Final = "ConnectError"
_ERROR: Final = "Error"
# What the HTTP server answers by itself, before it is known whom a request is for.
_OF_TRANSPORT: Final = (400, TIMED_OUT, HEADERS_TOO_LARGE, 500, 503)
# What the Connect protocol's front answers beside the statuses of its codes.
_OF_RPCS: Final = (METHOD_NOT_ALLOWED, UNSUPPORTED_TYPE)
_ABOUT: Final = """\
Actors over HTTP. Below `/holdfast.v1.*` are the unary RPCs of the protos, in the Connect
protocol: POST a message as JSON, or in binary as `application/proto`. Those without side effects
can be got, too. RPCs that stream are in the protos only. The other paths are those of RivetKit's
clients."""
_VERSION: Final = Parameter(
    "connect-protocol-version", "header", "version of the protocol", {"const": "1"}
)
_TIMEOUT: Final = Parameter(
    "connect-timeout-ms",
    "header",
    "milliseconds that the caller waits",
    {**TEXT, "pattern": "^[0-9]{1,10}$"},
)
_GOT: Final = (
    Parameter("encoding", "query", "encoding of the message", {"const": "json"}, required=True),
    Parameter("connect", "query", "version of the protocol", {"const": "v1"}),
)
_ERROR_OF_RPCS: Final = {
    "type": "object",
    "properties": {
        "code": {"enum": [code for code, _ in CODES.values()]},
        "message": TEXT,
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {**TEXT, "description": "full name of a message"},
                    "value": {**TEXT, "description": "the message in base64"},
                    "debug": {"description": "the message as JSON"},
                },
                "required": ["type", "value"],
            },
        },
    },
    "required": ["code", "message"],
    "additionalProperties": False,
}


def document(procedures: Iterable[Procedure], version: str, *, guarded: bool) -> dict[str, Any]:
    """The OpenAPI document of a server that has these RPCs, and is `guarded` by tokens."""
    unary = [
        each
        for each in procedures
        if not each.method.server_streaming and not each.method.client_streaming
    ]
    comments: dict[str, str] = json.loads(resources.files(v1).joinpath("comments.json").read_text())
    paths: dict[str, dict[str, Any]] = {}
    for procedure in unary:
        paths[procedure.path] = _rpc(procedure, comments)
    for endpoint in ALL:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, guarded=guarded
        )
    messages = [
        kind for each in unary for kind in (each.method.input_type, each.method.output_type)
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": name, "description": comments[name]}
            for name in sorted({each.method.containing_service.full_name for each in unary})
            if name in comments
        ],
        "security": [{"bearer": []}] if guarded else [],
        "paths": paths,
        "components": {
            "schemas": {
                _ERROR: dict(ERROR),
                _RPC_ERROR: _ERROR_OF_RPCS,
                **schemas_of(messages, comments),
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "x-rivet-token"},
            },
        },
    }


def _rpc(procedure: Procedure, comments: Mapping[str, str]) -> dict[str, Any]:
    method = procedure.method
    service = method.containing_service
    told: dict[str, Any] = {
        "tags": [service.full_name],
        "summary": f"{service.name}.{method.name}",
        "description": comments.get(method.full_name, ""),
        "responses": {
            "200": _response("The answer", reference(method.output_type)),
            **_failures({status for _, status in CODES.values()} | set(_OF_RPCS), _RPC_ERROR),
        },
    }
    if service.full_name in UNGUARDED:
        told["security"] = []
    operation = f"{service.name}_{method.name}"
    found: dict[str, Any] = {
        "post": {
            **told,
            "operationId": operation,
            "parameters": _parameters((_VERSION, _TIMEOUT)),
            "requestBody": _body(reference(method.input_type)),
        }
    }
    if procedure.reads:
        found["get"] = {
            **told,
            "operationId": f"{operation}_get",
            "parameters": [*_parameters((*_GOT, _TIMEOUT)), _message(method.input_type)],
        }
    return found


def _operation(endpoint: Endpoint, *, guarded: bool) -> dict[str, Any]:
    """An endpoint of the table."""
    answer = endpoint.answer
    responses: dict[str, Any] = _failures({*STATUSES, METHOD_NOT_ALLOWED}, _ERROR)
    if answer is None:
        responses["default"] = {"description": "Whatever the actor answers"}
    else:
        responses["200"] = _response("The answer", answer, endpoint.answer_type)
    if endpoint.operation == "health":
        responses["503"] = _response("The server does not serve", {"type": "object"})
    told: dict[str, Any] = {
        "tags": ["Gateway"],
        "summary": endpoint.summary,
        "operationId": endpoint.operation,
        "parameters": _parameters(endpoint.parameters),
        "responses": dict(sorted(responses.items())),
    }
    if endpoint.body is not None:
        told["requestBody"] = _body(endpoint.body)
    if not endpoint.guarded:
        told["security"] = []
    elif guarded:
        told["security"] = [{"bearer": []}, {"token": []}]
    return told


def _parameters(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "in": each.where,
            "description": each.about,
            "required": each.required,
            "schema": dict(each.schema),
        }
        for each in parameters
    ]


def _message(kind: Any) -> dict[str, Any]:
    """The parameter that is the message of a GET."""
    return {
        "name": "message",
        "in": "query",
        "description": "the message as JSON",
        "required": True,
        "content": {_JSON: {"schema": reference(kind)}},
    }


def _body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {_JSON: {"schema": dict(schema)}}}


def _response(about: str, schema: Mapping[str, Any], kind: str = _JSON) -> dict[str, Any]:
    return {"description": about, "content": {kind: {"schema": dict(schema)}}}


def _failures(statuses: Iterable[int], name: str) -> dict[str, Any]:
    """The responses of failures: of the statuses of a front, and of the HTTP server below it."""
    own = {"$ref": f"#/components/schemas/{name}"}
    others = {"$ref": f"#/components/schemas/{_ERROR}"}
    found: dict[str, Any] = {}
    for status in sorted({*statuses, *_OF_TRANSPORT}):
        schema: dict[str, Any] = own
        if name != _ERROR and status in _OF_TRANSPORT:
            schema = {"anyOf": [own, others]} if status in statuses else others
        found[str(status)] = _response("A failure", schema)
    return found
