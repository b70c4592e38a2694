"""Keys and values as they are typed into a shell: JSON, or the plain text of a key."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import typer

NameArg = Annotated[str, typer.Argument(help="Registered name of the actor's class.")]
KeyArg = Annotated[str, typer.Argument(help='One string, or a JSON list: \'["a","b"]\'.')]

STDIN: Final = "-"


def parse_key(text: str) -> list[str]:
    """A key: a JSON list of strings, or else one string."""
    if not text.startswith("["):
        return [text]
    remedy = 'a key is one string, or a JSON list of strings: \'["org-acme","general"]\''
    try:
        parts = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is not a JSON list ({error}); {remedy}") from None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise typer.BadParameter(f"{text} has parts that are no strings; {remedy}")
    return parts


def parse_value(text: str) -> Any:
    """A JSON value; a plain word needs its quotes."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        quoted = json.dumps(text, ensure_ascii=False)
        raise typer.BadParameter(f"not JSON: {text} (a string is written '{quoted}')") from None
    except RecursionError:
        raise typer.BadParameter("the JSON is nested too deeply") from None


def parse_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object."""
    value = parse_value(text)
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{what} is a JSON object, such as '{{\"limit\": 3}}'")
    return value


class Stdin:
    """Standard input, which stands for one of the values of a command."""

    def __init__(self) -> None:
        self._taken = False

    def text(self, given: str) -> str:
        """The text given, or what is on standard input where that is `-`."""
        if given != STDIN:
            return given
        if self._taken:
            raise typer.BadParameter("'-' stands for standard input, which can be read once only")
        self._taken = True
        try:
            return sys.stdin.read()
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"standard input is not UTF-8: {error}") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


__all__ = ["KeyArg", "NameArg", "Stdin", "parse_key", "parse_object", "parse_value"]
