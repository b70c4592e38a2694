"""`holdfast-server`: the commands of the server.

Exit codes: 0 done, 1 it cannot be done here and now, 2 wrong usage, settings or
application. Each setting is a flag; `settings.py` has the table.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from holdfast_server.app import serve_process, start_logging
from holdfast_server.config import SETTINGS
from holdfast_server.process.failures import EXPLAINED, FAILED, OK, exit_code
from holdfast_server.process.flags import add_settings, flags_of
from holdfast_server.process.loader import load_registry
from holdfast_server.process.new_token import add_options, new_token
from holdfast_server.store import backup
from holdfast_server.store.verify import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    options = _parser().parse_args(arguments)
    start_logging()
    try:
        code: int = options.run(options)
        return code
    except EXPLAINED as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast-server", description="Serve durable actors.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=version("holdfast"))
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser(
        "serve",
        help="serve a registry",
        allow_abbrev=False,
        description="Serve a registry until SIGTERM. A flag wins over its HOLDFAST_ variable, "
        "that over setup(...), that over the default.",
    )
    serving.add_argument(
        "registry", help="where the registry is: MODULE:NAME or FILE.py, e.g. app:registry"
    )
    serving.add_argument(
        "--check-config", action="store_true", help="show the settings, check them and exit"
    )
    add_settings(serving)
    serving.set_defaults(run=_serve)
    checking = commands.add_parser(
        "verify", help="check a data directory that no server has open", allow_abbrev=False
    )
    data = SETTINGS["data"]
    checking.add_argument(
        "--data",
        default=os.environ.get(data.variable) or data.default,
        help=f"the data directory [{data.variable}; default: {data.default}]",
    )
    checking.set_defaults(run=_verify)
    _add_restore(commands)
    making = commands.add_parser(
        "token",
        help="make a random token, and the line of a token file that accepts it",
        allow_abbrev=False,
    )
    add_options(making)
    making.set_defaults(run=_token)
    return parser


def _add_restore(commands: Any) -> None:
    restoring = commands.add_parser(
        "restore",
        help="make a data directory of a backup, and verify it",
        allow_abbrev=False,
        description="Make a new data directory of a backup. It is verified before it is put in "
        "place; with --check it is deleted again after that.",
    )
    restoring.add_argument("--from", dest="source", required=True, help="directory of backups")
    restoring.add_argument("--backup", help="name of a backup [default: the last]")
    into = restoring.add_mutually_exclusive_group(required=True)
    into.add_argument("--data", help="the new data directory; missing or empty")
    into.add_argument("--check", metavar="DIR", help="only verify, in this scratch directory")
    into.add_argument("--list", action="store_true", help="list the backups, the oldest first")
    restoring.set_defaults(run=_restore)


def _restore(options: argparse.Namespace) -> int:
    source, now = Path(options.source), datetime.now(UTC)
    if options.list:
        for name in backup.names(source):
            print(name)
    elif options.check is not None:
        print(f"{backup.check(source, Path(options.check), now, options.backup)} verifies")
    else:
        name = backup.restore(source, Path(options.data), now, options.backup)
        print(f"{name} is restored to {options.data}, and verifies")
    return OK


def _serve(options: argparse.Namespace) -> int:
    registry = load_registry(options.registry)
    return serve_process(
        registry,
        flags=flags_of(options),
        config=registry.config,
        check=options.check_config,
    )


def _verify(options: argparse.Namespace) -> int:
    findings = verify(options.data)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings")
    return FAILED if findings else OK


def _token(options: argparse.Namespace) -> int:
    token, line = new_token(options)
    print(f"token: {token}\nline:  {line}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
