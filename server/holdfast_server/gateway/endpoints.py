"""The gateway's own endpoints, beside its RPCs: what they are called, take and answer.

One table serves the router, which finds an operation here, and `openapi.json`, which tells of
it. Schemas are JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_ANYTHING: Final[Schema] = {}
_PLAIN: Final = "text/plain"
_JSON: Final = "application/json"


def _object(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """An object whose properties are all there, but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TIME: Final[Schema] = {"type": ["integer", "null"], "description": "milliseconds since 1970"}
ACTOR: Final[Schema] = _object(
    {
        "actor_id": TEXT,
        "name": TEXT,
        "key": {**TEXT, "description": "its parts, joined by /"},
        "namespace_id": TEXT,
        "runner_name_selector": TEXT,
        "crash_policy": TEXT,
        **dict.fromkeys(
            ("create_ts", "start_ts", "connectable_ts", "sleep_ts", "destroy_ts"), _TIME
        ),
    }
)
ERROR: Final[Schema] = _object(
    {"group": TEXT, "code": TEXT, "message": TEXT, "metadata": _ANYTHING}, "metadata"
)
_PAGE: Final[Schema] = _object({"cursor": _TEXT_OR_NULL})
_NAMES: Final[Schema] = {
    "type": "object",
    "additionalProperties": _object({"metadata": {"type": "object"}}),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation; `where` is path, query or header."""

    name: str
    where: str
    about: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An operation. `answer` is None where the body is the actor's own."""

    method: str
    path: str
    operation: str
    summary: str
    answer: Schema | None
    answer_type: str = _JSON
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    # Whether a token is asked for, where there are tokens.
    guarded: bool = True

    def match(self, path: str) -> list[str] | None:
        """The parts of a path, undecoded, that stand for parameters; None for another path."""
        mine, theirs = self.path.split("/"), path.split("/")
        if len(mine) != len(theirs):
            return None
        if "" in theirs[1:-1]:
            # Only the last may be empty: a key of KV is.
            return None
        found = []
        for part, given in zip(mine, theirs, strict=True):
            if part.startswith("{"):
                found.append(given)
            elif part != given:
                return None
        return found


_NAMESPACE: Final = Parameter("namespace", "query", 'namespace; "default" when absent')
_ACTOR_ID: Final = Parameter("actor_id", "path", "id of the actor", required=True)
_ACTOR_NAME: Final = Parameter(
    "actor",
    "path",
    "registered name of the actor's class, with the `rvt-` parameters; else the actor's id",
    required=True,
)
_BY_KEY: Final = (
    _ACTOR_NAME,
    Parameter("rvt-namespace", "query", 'namespace, "default" for one; with a name'),
    Parameter(
        "rvt-method",
        "query",
        "whether an actor that is not there is made; with a name",
        {"enum": ["get", "getOrCreate"]},
    ),
    Parameter("rvt-key", "query", "parts of the key, joined by commas"),
    Parameter("rvt-runner", "query", "any name; with getOrCreate, and only then"),
    Parameter("rvt-input", "query", "CBOR in base64url, for an actor that is made"),
)
_ENCODING: Final = Parameter(
    "x-rivet-encoding",
    "header",
    "encoding of body and answer; this document is of json",
    {"enum": ["json"]},
)
_PARAMS: Final = Parameter(
    "x-rivet-conn-params", "header", "parameters of the connection that the call is, as JSON"
)
_MADE: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": {**TEXT, "description": "registered name of the class"},
        "key": {**_TEXT_OR_NULL, "description": "parts of the key, joined by /"},
        "input": {**_TEXT_OR_NULL, "description": "CBOR in base64"},
    },
    "required": ["name"],
}

OWN: Final = (
    Endpoint(
        method="GET",
        path="/",
        operation="banner",
        summary="Says what this server is",
        answer=TEXT,
        answer_type=_PLAIN,
        guarded=False,
    ),
    Endpoint(
        method="GET",
        path="/health",
        operation="health",
        summary="Whether the server serves; 503 with the reason when it does not",
        answer=_object(
            {"status": TEXT, "runtime": TEXT, "version": TEXT, "reason": TEXT}, "reason"
        ),
        guarded=False,
    ),
    Endpoint(
        method="GET",
        path="/metadata",
        operation="metadata",
        summary="What RivetKit's clients ask first",
        answer=_object(
            {
                "runtime": TEXT,
                "version": TEXT,
                "runner": {"type": "object"},
                "actorNames": _NAMES,
            }
        ),
        guarded=False,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        operation="openapi",
        summary="This document",
        answer={"type": "object"},
        guarded=False,
    ),
)
ACTORS: Final = (
    Endpoint(
        method="GET",
        path="/actors",
        operation="list",
        summary="Finds actors: by name and key, by ids, or a page of all of a name",
        parameters=(
            Parameter("name", "query", "registered name of the class; not with actor_ids"),
            Parameter("key", "query", "parts of the key, joined by /"),
            Parameter("actor_ids", "query", "ids, joined by commas; 32 at most"),
            Parameter(
                "limit",
                "query",
                "size of a page; 100 when absent",
                {"type": "integer", "minimum": 1},
            ),
            Parameter("cursor", "query", "the cursor of the page before"),
            _NAMESPACE,
        ),
        answer=_object({"actors": _list(ACTOR), "pagination": _PAGE}, "pagination"),
    ),
    Endpoint(
        method="PUT",
        path="/actors",
        operation="get_or_create",
        summary="Finds an actor, or makes it",
        parameters=(_NAMESPACE,),
        body=_MADE,
        answer=_object({"actor": ACTOR, "created": {"type": "boolean"}}),
    ),
    Endpoint(
        method="POST",
        path="/actors",
        operation="create",
        summary="Makes an actor",
        parameters=(_NAMESPACE,),
        body=_MADE,
        answer=_object({"actor": ACTOR}),
    ),
    Endpoint(
        method="GET",
        path="/actors/names",
        operation="names",
        summary="The names of the registry",
        parameters=(_NAMESPACE,),
        answer=_object({"names": _NAMES, "pagination": _PAGE}),
    ),
    Endpoint(
        method="DELETE",
        path="/actors/{actor_id}",
        operation="destroy",
        summary="Destroys an actor",
        parameters=(_ACTOR_ID, _NAMESPACE),
        answer={"type": "object"},
    ),
    Endpoint(
        method="GET",
        path="/actors/{actor_id}/kv/keys/{key}",
        operation="kv",
        summary="An entry of an actor's KV",
        parameters=(
            _ACTOR_ID,
            Parameter("key", "path", "the key in base64, of either alphabet", required=True),
            _NAMESPACE,
        ),
        answer=_object({"value": {**_TEXT_OR_NULL, "description": "the value in base64"}}),
    ),
)
# Found by `wire.targets`, since an actor is named in more than one way.
OF_ACTORS: Final = (
    Endpoint(
        method="POST",
        path="/gateway/{actor}/action/{action}",
        operation="act",
        summary="Calls an action",
        parameters=(
            *_BY_KEY,
            Parameter("action", "path", "wire name of the action", required=True),
            _ENCODING,
            _PARAMS,
        ),
        body={
            "type": "object",
            "properties": {"args": {**_list(_ANYTHING), "description": "its arguments"}},
        },
        answer=_object({"output": _ANYTHING}),
    ),
    Endpoint(
        method="POST",
        path="/gateway/{actor}/queue/{queue}",
        operation="send",
        summary="Sends to a queue, of which actors have none",
        parameters=(
            *_BY_KEY,
            Parameter("queue", "path", "name of the queue", required=True),
            _ENCODING,
        ),
        body={},
        answer={"type": "object"},
    ),
    Endpoint(
        method="GET",
        path="/gateway/{actor}/request/{path}",
        operation="request",
        summary="A request to the actor's own on_request, of any method, with any path behind it",
        parameters=(
            *_BY_KEY,
            Parameter("path", "path", "what the actor sees as the path", required=True),
            _PARAMS,
        ),
        answer=None,
    ),
)
ALL: Final = (*OWN, *ACTORS, *OF_ACTORS)


def find(table: tuple[Endpoint, ...], method: str, path: str) -> tuple[str, list[str]] | None:
    """The operation of a request, and what stands for its parameters in the path."""
    for endpoint in table:
        parts = endpoint.match(path) if method == endpoint.method else None
        if parts is not None:
            return endpoint.operation, parts
    return None


def methods_of(path: str) -> list[str]:
    """The methods of all that is served under a path; none where nothing is."""
    return sorted({each.method for each in ALL if each.match(path) is not None})
