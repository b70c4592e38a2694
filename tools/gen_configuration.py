"""Writes docs/configuration.md from the table of settings.

`python -m tools.gen_configuration` writes it; a test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from holdfast_server.config import LIMITS, SETTINGS
from holdfast_server.settings import Setting

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

_INTRODUCTION: Final = """# Configuration

<!-- Written by `make gen` from the comments in config.py and core/limits.py. -->

`holdfast-server serve app:registry` reads each setting from four places, the first one wins:

1. its flag, as in `--mailbox-max 500`; switches are `--reflection` and `--no-reflection`,
2. its variable in the environment, as in `HOLDFAST_MAILBOX_MAX=500`; an empty one does not count,
3. the application: `registry.serve(mailbox_max=500)`, or `setup(use={...}, mailbox_max=500)`,
4. its default.

The server prints at its start what is not at its default and who set it, secrets masked. With
`--check-config` it prints all settings, checks them and the files they name, and exits: with 0, or
with 2 when something is wrong. A wrong value, a flag that does not exist and settings that do not
fit together are refused with one line that names the setting; a `HOLDFAST_` variable that does not
exist is warned of. Lists are separated by commas. `python app.py` with `registry.serve()` in it
and `holdfast dev app.py` read the same variables; `holdfast dev` takes the flags too.
"""
_SETTINGS: Final = """
## Settings

| setting | default | flag, variable | what it is |
|---|---|---|---|
"""
_LIMITS: Final = """
## Limits

[Limits](limits.md) says what happens at each. Numbers are whole except for seconds.

| setting | default | unit | least | flag, variable |
|---|---|---|---|---|
"""


def render() -> str:
    """The page."""
    settings = "".join(_setting(each) for each in SETTINGS.values() if each.name not in LIMITS)
    limits = "".join(_limit(each) for each in LIMITS.values())
    return _INTRODUCTION + _SETTINGS + settings + _LIMITS + limits


def _setting(setting: Setting) -> str:
    text = setting.help
    if setting.choices:
        text += f" One of {', '.join(f'`{choice}`' for choice in setting.choices)}."
    names = f"`{setting.variable}`"
    if setting.secret:
        names += ", no flag: everybody on a machine can read a command line"
    else:
        names = f"`{setting.flag}`, {names}"
    return f"| `{setting.name}` | {_shown(setting.default)} | {names} | {text} |\n"


def _limit(setting: Setting) -> str:
    least = f"above {setting.low:g}" if setting.above else f"{setting.low:g}"
    return (
        f"| `{setting.name}` | {_shown(setting.default)} | {setting.unit} | {least} "
        f"| `{setting.flag}`, `{setting.variable}` |\n"
    )


def _shown(default: Any) -> str:
    if default in ("", frozenset()):
        return "none"
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, frozenset):
        return f"`{','.join(sorted(default))}`"
    return f"`{default}`"


def main() -> int:
    """Write the page; the exit code."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
