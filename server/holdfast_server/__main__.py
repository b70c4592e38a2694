"""`holdfast-server`: the commands of the server.

Exit codes: 0 done, 1 it cannot be done here and now, 2 wrong usage, settings or
application. Each setting is a flag; `settings.py` has the table.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from holdfast_server.app import serve_process, start_logging
from holdfast_server.config import SETTINGS
from holdfast_server.process.failures import EXPLAINED, FAILED, OK, exit_code
from holdfast_server.process.flags import add_settings, flags_of
from holdfast_server.process.loader import load_registry
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
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
