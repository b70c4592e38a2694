"""The settings as flags of a command line, made from their table."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from holdfast_server.config import LIMITS, SETTINGS
from holdfast_server.settings import Setting


def flags_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    given = vars(options)
    return {name: given[name] for name in SETTINGS if given.get(name) is not None}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting."""
    server = parser.add_argument_group("settings")
    limits = parser.add_argument_group("limits")
    for name, setting in SETTINGS.items():
        group = limits if name in LIMITS else server
        if setting.secret:
            # Everybody on the machine can read a command line.
            group.add_argument(setting.flag, action=_Secret, help=argparse.SUPPRESS)
        elif isinstance(setting.default, bool):
            action = argparse.BooleanOptionalAction
            group.add_argument(setting.flag, action=action, default=None, help=_help(setting))
        else:
            group.add_argument(setting.flag, metavar=_metavar(setting), help=_help(setting))


class _Secret(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.error(
            f"{self.option_strings[0]}: everybody on the machine can read a command line; "
            "use HOLDFAST_TOKEN or --token-file"
        )


def _help(setting: Setting) -> str:
    default = setting.default
    if isinstance(default, frozenset):
        default = ",".join(sorted(default))
    unit = f" {setting.unit}" if setting.unit in ("bytes", "seconds") else ""
    shown = f" [{setting.variable}; default: {default}{unit}]" if default != "" else ""
    return (setting.help + (shown or f" [{setting.variable}]")).replace("%", "%%")


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "|".join(setting.choices)
    units = {"bytes": "BYTES", "seconds": "SECONDS", "count": "COUNT"}
    return units.get(setting.unit, "VALUE")
