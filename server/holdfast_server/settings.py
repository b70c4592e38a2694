"""The table of settings, made from the dataclasses that hold them.

A setting is one field of `Config` or of `Limits`. Its flag, its variable, its
unit and what it accepts follow from its name and its default; its help is the
comment above the field. So a field that is added is a setting at once, and
`docs/configuration.md` is made from the same table.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast_server.core.limits import Limits

PREFIX: Final = "HOLDFAST_"
INT_MAX: Final = (1 << 63) - 1

# Numbers that may be zero: nothing to wait for, or, for the watchdog, off.
_FROM_ZERO: Final = frozenset(
    {"commit_wait_s", "drain_streams_s", "drain_timeout_s", "jwt_leeway_s", "loop_block_warn_s"}
    | {"outbox_backoff_s", "sleep_timeout_s"}
)
# gRPC counts the bytes of a message in 31 bits, and a message is a payload and a bit.
_PAYLOAD_MAX: Final = (1 << 31) - (2 << 20)
_HIGHEST: Final[Mapping[str, int]] = {
    "action_threads_max": 4096,
    "jwt_leeway_s": 300,
    "input_bytes_max": _PAYLOAD_MAX,
    "payload_bytes_max": _PAYLOAD_MAX,
}
# Longer than any deadline that makes sense, short enough for every clock.
_SECONDS_MAX: Final = 10 * 365 * 86_400
_UNITS: Final = (("_bytes_max", "bytes"), ("_bytes", "bytes"), ("_max", "count"), ("_s", "seconds"))
_FIELD: Final = re.compile(r"    ([a-z_]+): ")


class ConfigError(ValueError):
    """A setting is unknown, malformed or refused; the message names it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `low` and `high` bound a number, both included unless `above`."""

    name: str
    default: Any
    help: str
    unit: str = ""
    low: float = 0
    high: float = 0
    above: bool = False
    choices: tuple[str, ...] = ()
    # Raises ValueError for a value of the right type that is refused.
    rule: Callable[[Any], None] | None = None
    secret: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    def parse(self, raw: Any, source: str) -> Any:
        """The value of `raw`, text or already a value; `source` is for the message."""
        try:
            value = self._convert(raw)
            self.check(value)
        except ValueError as error:
            shown = "" if self.secret else f"{raw!r} "
            raise ConfigError(f"{source}: {shown}{error}") from None
        return value

    def check(self, value: Any) -> None:
        """ValueError unless a value of the right type is in range."""
        if isinstance(value, str) and self.choices and value not in self.choices:
            raise ValueError(f"is not one of {', '.join(self.choices)}")
        if self.rule is not None:
            self.rule(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if not math.isfinite(value):
            raise ValueError("is not a finite number")
        if self.above and value <= self.low:
            raise ValueError(f"must be above {self.low:g}")
        if value < self.low:
            raise ValueError(f"must be at least {self.low:g}")
        if value > self.high:
            raise ValueError(f"must be at most {self.high:.0f}")

    def _convert(self, raw: Any) -> Any:
        kind = type(self.default)
        if kind is bool:
            return _boolean(raw)
        if kind is int:
            return _whole(raw)
        if kind is float:
            return _number(raw)
        if kind is frozenset:
            parts = raw.split(",") if isinstance(raw, str) else list(raw)
            return frozenset(part.strip() for part in parts if part.strip())
        if isinstance(raw, os.PathLike):
            raw = os.fspath(raw)
        if not isinstance(raw, str):
            raise ValueError("is not text")
        return raw


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    value = words.get(raw.lower()) if isinstance(raw, str) else None
    if value is None:
        raise ValueError("is not true or false")
    return value


def _whole(raw: Any) -> int:
    try:
        if isinstance(raw, str | int) and not isinstance(raw, bool):
            return int(raw)
    except ValueError:
        pass
    raise ValueError("is not a whole number")


def _number(raw: Any) -> float:
    try:
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            return float(raw)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not a number")


def table_of(cls: type[Any]) -> dict[str, Setting]:
    """The settings of a dataclass by name, in the order of its fields."""
    comments = _comments(cls)
    return {
        field.name: _setting(field, comments.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }


def _setting(field: dataclasses.Field[Any], help_text: str) -> Setting:
    name, default = field.name, field.default
    unit, low, high, above = "", 0.0, 0.0, False
    if isinstance(default, int | float) and not isinstance(default, bool):
        unit = next((word for suffix, word in _UNITS if name.endswith(suffix)), "")
        whole = isinstance(default, int)
        low = 1 if whole else 0
        high = _HIGHEST.get(name, INT_MAX if whole else _SECONDS_MAX)
        above = not whole and name not in _FROM_ZERO
    return Setting(
        name=name,
        default=default,
        help=help_text,
        unit=unit,
        low=low,
        high=high,
        above=above,
        choices=field.metadata.get("choices", ()),
        rule=field.metadata.get("rule"),
        secret=field.metadata.get("secret", False),
    )


def _comments(cls: type[Any]) -> dict[str, str]:
    """The comment above each field; one comment may stand for a group of them."""
    try:
        lines = inspect.getsource(cls).splitlines()
    except OSError:
        return {}  # the package is there without its source: flags then have no help
    found: dict[str, str] = {}
    comment: list[str] = []
    open_ = False
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            comment = [*comment, text] if open_ else [text]
            open_ = True
            continue
        open_ = False
        match = _FIELD.match(line)
        if match is not None:
            found[match[1]] = " ".join(part.lstrip("# ") for part in comment)
        elif not text:
            comment = []
    return found


LIMITS: Final[Mapping[str, Setting]] = table_of(Limits)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""
