"""Query strings: their parameters, and the two ways in which values are decoded."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from holdfast_server.gateway.wire.errors import WireError


class Parameter(NamedTuple):
    """One parameter as it stands in the query; `text` is the whole of it."""

    name: str
    value: str
    text: str


def split_query(query: str) -> list[Parameter]:
    """The parameters of a query, undecoded; the empty ones are left out."""
    found = []
    for text in query.split("&"):
        if text:
            name, _, value = text.partition("=")
            found.append(Parameter(name, value, text))
    return found


def unquote(text: str, field: str, code: str = "") -> str:
    """Percent-decoded text, in which `+` stays what it is; WireError if it is not UTF-8."""
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise WireError("percent-encoding of what is not UTF-8", field=field, code=code) from None


def unquote_form(text: str, field: str, code: str = "") -> str:
    """Text decoded as a form writes it, in which `+` is a space."""
    return unquote(text.replace("+", " "), field, code)


def plain_query(query: str, *, parameters_max: int = 32) -> dict[str, str]:
    """The parameters of a call of the management API, whose names are all different.

    Some clients leave a `+` as it is, so it is no space here.
    """
    listed = split_query(query)
    if len(listed) > parameters_max:
        raise WireError(
            f"{len(listed)} parameters; at most {parameters_max}",
            field="query",
            limit=parameters_max,
        )
    found: dict[str, str] = {}
    for parameter in listed:
        name = unquote(parameter.name, "query")
        if name in found:
            raise WireError("given twice", field=name[:64])
        found[name] = unquote(parameter.value, name[:64])
    return found


__all__ = ["Parameter", "plain_query", "split_query", "unquote", "unquote_form"]
