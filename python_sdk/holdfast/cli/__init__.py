"""`holdfast`: call and look after actors from a shell.

Values go in and come out as JSON. Exit codes: 0 done, 1 the call failed (error
of the actor or the server on stderr), 2 wrong usage, 3 the server cannot be
reached or cannot serve now, 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script; explains itself where the extra `cli` is missing."""
    for argument in sys.argv[1:]:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            print(f"error: an argument is not UTF-8: {argument!a}", file=sys.stderr)
            raise SystemExit(2) from None
    try:
        from holdfast.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "click", "rich"):
            raise
        print("the command line needs: pip install 'holdfast[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    app()


__all__ = ["main"]
