"""Configuration: frozen, from flags and HOLDFAST_* variables, checked once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast_server.core.limits import Limits
from holdfast_server.telemetry.logging import FORMATS, LEVELS


class ConfigError(ValueError):
    """A setting is unknown or malformed; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a server is told; `limits` holds every limit with its default."""

    # Directory of the data; made if missing. HOLDFAST_DATA.
    data: str = ".holdfast"
    # Address of the gRPC server, port 0 for any free one. HOLDFAST_GRPC.
    grpc: str = "127.0.0.1:6430"
    # Namespaces, separated by commas. HOLDFAST_NAMESPACES.
    namespaces: frozenset[str] = frozenset({"default"})
    # Serve gRPC reflection. HOLDFAST_REFLECTION.
    reflection: bool = True
    # Put the keys of actors on spans; they may hold what users wrote. HOLDFAST_TRACE_KEYS.
    trace_keys: bool = False
    # Lines of the log: text, or json with one object a line. HOLDFAST_LOG_FORMAT.
    log_format: str = "text"
    # The least level that is logged: debug, info, warning, error. HOLDFAST_LOG_LEVEL.
    log_level: str = "info"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, choices in (("log_format", FORMATS), ("log_level", LEVELS)):
            if getattr(self, name) not in choices:
                known = ", ".join(choices)
                raise ConfigError(
                    f"HOLDFAST_{name.upper()}: {getattr(self, name)!r} is not one of {known}"
                )


def load(environ: Mapping[str, str], **flags: Any) -> Config:
    """Flags before HOLDFAST_* variables before defaults."""
    values = {
        entry.name: _setting(entry.name, entry.default, flags, environ)
        for entry in dataclasses.fields(Config)
        if entry.name != "limits"
    }
    limits = {
        entry.name: _setting(entry.name, entry.default, flags, environ)
        for entry in dataclasses.fields(Limits)
    }
    return Config(limits=Limits(**limits), **values)


def _setting(name: str, default: Any, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    if flags.get(name) is not None:
        raw: Any = flags[name]
    else:
        raw = environ.get(f"HOLDFAST_{name.upper()}")
    if raw is None:
        return default
    return _parse(name, raw, default)


def _parse(name: str, raw: Any, default: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "0": False, "false": False}[raw.lower()]
        if isinstance(default, int):
            return int(raw)
        if isinstance(default, float):
            return float(raw)
    except (ValueError, KeyError):
        wanted = type(default).__name__
        raise ConfigError(f"HOLDFAST_{name.upper()}: {raw!r} is not a {wanted}") from None
    if isinstance(default, frozenset):
        return frozenset(part.strip() for part in raw.split(",") if part.strip())
    return raw
