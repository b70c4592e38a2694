"""Which actor a URL below /gateway/ is for, and what remains of it for that actor.

Either the path names the actor by id, or it names a registered name and the query says the
rest in parameters that begin with `rvt-`. What remains is kept byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from holdfast_server.core.values import Value
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.inputs import parse_query_input
from holdfast_server.gateway.wire.limits import WireLimits
from holdfast_server.gateway.wire.queries import Parameter, split_query, unquote, unquote_form

PREFIX: Final = "rvt-"
_GATEWAY: Final = "/gateway/"
_PARAMETERS: Final = frozenset(
    {
        "namespace", "method", "runner", "pool", "key", "input", "region", "crash-policy",
        "token", "skip-ready-wait",
    }
)  # fmt: skip
_NOT_WITH_GET: Final = ("input", "region", "crash-policy", "runner", "pool")
_CRASH_POLICIES: Final = ("restart", "sleep", "destroy")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectTarget:
    """`/gateway/{actor_id}[@{token}]{path}[?{query}]`; `path` and `query` are undecoded."""

    actor_id: str
    token: str | None = None
    path: str = "/"
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTarget:
    """`/gateway/{name}{path}?{query}` without the parameters that begin with `rvt-`."""

    name: str
    namespace: str
    method: Literal["get", "getOrCreate"]
    key: tuple[str, ...] = ()
    runner: str | None = None
    input: Value | None = None
    region: str | None = None
    crash_policy: str | None = None
    token: str | None = None
    skip_ready_wait: bool = False
    path: str = "/"
    query: str = ""


Target = DirectTarget | QueryTarget


def parse_target(path: str, query: str, limits: WireLimits) -> Target | None:
    """The target of a path and query as they were sent, None where they name no actor.

    Raises WireError with `code` for `rvt-` parameters that do not fit.
    """
    if "//" in path or not f"{path}/".startswith(_GATEWAY):
        return None
    segment, _, rest = path[len(_GATEWAY) :].partition("/")
    rest = f"/{rest}"
    parameters = split_query(query)
    ours = [parameter for parameter in parameters if parameter.name.startswith(PREFIX)]
    if not ours:
        return _direct(segment, rest, query)
    kept = "&".join(p.text for p in parameters if not p.name.startswith(PREFIX))
    return _by_query(segment, rest, kept, _values(ours, limits), limits)


def _direct(segment: str, rest: str, query: str) -> DirectTarget | None:
    actor_id, at, token = segment.partition("@")
    if not actor_id or (at and not token):
        return None
    try:
        return DirectTarget(
            actor_id=unquote(actor_id, "actor_id"),
            token=unquote(token, "token") if at else None,
            path=rest,
            query=query,
        )
    except WireError:
        return None


def _values(parameters: list[Parameter], limits: WireLimits) -> dict[str, str]:
    if len(parameters) > limits.query_params_max:
        limit = limits.query_params_max
        problem = f"{len(parameters)} parameters; at most {limit}"
        raise WireError(problem, field=PREFIX, limit=limit, code="query_invalid_params")
    values: dict[str, str] = {}
    for parameter in parameters:
        name = parameter.name.removeprefix(PREFIX)
        field = parameter.name[:64]
        if name in values:
            raise WireError("given twice", field=field, code="query_duplicate_param")
        if name not in _PARAMETERS:
            raise _invalid("unknown", field)
        values[name] = unquote_form(parameter.value, field, code="query_invalid_percent_encoding")
    return values


def _by_query(
    segment: str, rest: str, query: str, values: dict[str, str], limits: WireLimits
) -> QueryTarget:
    if "@" in segment:
        raise WireError("no place for a token", field="path", code="query_path_token_syntax")
    name = unquote(segment, "name", code="query_invalid_percent_encoding")
    if not name:
        raise WireError("empty", field="name", code="query_empty_actor_name")
    for needed in ("namespace", "method"):
        if needed not in values:
            raise _invalid("missing", PREFIX + needed)
    method = values["method"]
    if method == "get":
        for other in _NOT_WITH_GET:
            if other in values:
                raise WireError(
                    "not for method get", field=PREFIX + other, code="query_get_disallowed_params"
                )
    elif method != "getOrCreate":
        raise _invalid("neither get nor getOrCreate", PREFIX + "method")
    runner = values.get("pool", values.get("runner"))
    if method == "getOrCreate" and runner is None:
        raise WireError("missing", field=PREFIX + "pool", code="query_missing_pool")
    policy = values.get("crash-policy")
    if policy is not None and policy not in _CRASH_POLICIES:
        raise _invalid(f"none of {', '.join(_CRASH_POLICIES)}", PREFIX + "crash-policy")
    skip = values.get("skip-ready-wait", "false")
    if skip not in _BOOLEANS:
        raise _invalid("neither true nor false", PREFIX + "skip-ready-wait")
    return QueryTarget(
        name=name,
        namespace=values["namespace"],
        method="get" if method == "get" else "getOrCreate",
        key=_key(values.get("key", ""), limits),
        runner=runner,
        input=parse_query_input(values["input"], limits) if "input" in values else None,
        region=values.get("region"),
        crash_policy=policy,
        token=values.get("token"),
        skip_ready_wait=_BOOLEANS[skip],
        path=rest,
        query=query,
    )


def _key(text: str, limits: WireLimits) -> tuple[str, ...]:
    # Clients join the parts by commas and escape none in them.
    count, limit = text.count(",") + 1, limits.key_parts_max
    if count > limit:
        raise WireError(
            f"{count} parts; at most {limit}",
            field=PREFIX + "key",
            limit=limit,
            code="query_invalid_params",
        )
    return tuple(text.split(",")) if text else ()


def _invalid(problem: str, field: str) -> WireError:
    return WireError(problem, field=field, code="query_invalid_params")


__all__ = ["PREFIX", "DirectTarget", "QueryTarget", "Target", "parse_target"]
