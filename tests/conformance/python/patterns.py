"""Requests and expectations of the conformance cases: variables, `$` forms, matching.

The README of tests/conformance defines them; this is that definition in Python.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
JSON_ENCODING: Final = "PAYLOAD_ENCODING_JSON"


class Mismatch(Exception):
    """An expectation was not met; says where."""


def form(value: Any) -> tuple[str, Any]:
    """The name and the operand of a `$` form; an empty name for anything else."""
    if isinstance(value, dict) and len(value) == 1:
        name, operand = next(iter(value.items()))
        if name.startswith("$"):
            return name, operand
    return "", None


def expand(value: Any, variables: dict[str, Any]) -> Any:
    """`value` with variables and `$` forms replaced by what they stand for."""
    if isinstance(value, str):
        return _text(value, variables)
    if isinstance(value, list):
        return [expand(item, variables) for item in value]
    if not isinstance(value, dict):
        return value
    name, operand = form(value)
    if not name:
        return {key: expand(item, variables) for key, item in value.items()}
    given = expand(operand, variables)
    if name == "$repeat":
        return given[0] * given[1]
    if name == "$text":
        return _base64(given.encode())
    if name == "$hex":
        return _base64(bytes.fromhex(given))
    if name == "$json":
        text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        return {"encoding": JSON_ENCODING, "data": _base64(text.encode())}
    raise Mismatch(f"{name} does not belong into a request")


def match(pattern: Any, actual: Any, variables: dict[str, Any], path: str) -> None:
    """Raise Mismatch unless `actual` is as `pattern` says; captures into `variables`."""
    name, operand = form(pattern)
    if name == "$capture":
        if actual is None or actual == "":
            raise Mismatch(f"{path} is absent")
        variables[operand] = actual
    elif name == "$not":
        if same(expand(operand, variables), actual):
            raise Mismatch(f"{path} is {actual!r}")
    elif name == "$json":
        _match_json(expand(operand, variables), actual, path)
    elif isinstance(pattern, dict) and not name:
        _match_object(pattern, actual, variables, path)
    elif isinstance(pattern, list):
        if not isinstance(actual, list) or len(actual) != len(pattern):
            raise Mismatch(f"{path} is {actual!r}, not {len(pattern)} items")
        for index, item in enumerate(pattern):
            match(item, actual[index], variables, f"{path}[{index}]")
    else:
        wanted = expand(pattern, variables)
        if not same(wanted, actual):
            raise Mismatch(f"{path} is {actual!r}, not {wanted!r}")


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _match_object(
    pattern: dict[str, Any], actual: Any, variables: dict[str, Any], path: str
) -> None:
    if not isinstance(actual, dict):
        raise Mismatch(f"{path} is {actual!r}, not an object")
    for key, item in pattern.items():
        match(item, actual.get(key), variables, f"{path}.{key}")


def _match_json(wanted: Any, actual: Any, path: str) -> None:
    if not isinstance(actual, dict) or actual.get("encoding") != JSON_ENCODING:
        raise Mismatch(f"{path} is {actual!r}, not a JSON payload")
    text = base64.b64decode(actual["data"]).decode()
    if not same(wanted, json.loads(text)):
        raise Mismatch(f"{path} is {text}, not {json.dumps(wanted, ensure_ascii=False)}")


def _text(value: str, variables: dict[str, Any]) -> Any:
    """A string that is one variable becomes its value, of whatever type."""
    whole = _VARIABLE.fullmatch(value)
    if whole:
        return _variable(whole, variables)
    return _VARIABLE.sub(lambda found: str(_variable(found, variables)), value)


def _variable(found: re.Match[str], variables: dict[str, Any]) -> Any:
    if found[1] not in variables:
        raise Mismatch(f"there is no variable {found[1]!r}")
    return variables[found[1]]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
