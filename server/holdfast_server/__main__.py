"""`holdfast-server`: the entry of the server process."""

from __future__ import annotations

import argparse
import importlib
import sys

from holdfast_server.app import serve
from holdfast_server.store.verify import verify


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code."""
    parser = argparse.ArgumentParser(prog="holdfast-server")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve a registry")
    serving.add_argument("registry", help="MODULE:NAME of the registry, e.g. app:registry")
    serving.add_argument("--data", help="data directory (HOLDFAST_DATA)")
    serving.add_argument("--grpc", help="host:port of the gRPC server (HOLDFAST_GRPC)")
    checking = commands.add_parser("verify", help="check a data directory offline")
    checking.add_argument("--data", default=".holdfast")
    options = parser.parse_args(arguments)
    if options.command == "verify":
        findings = verify(options.data)
        for finding in findings:
            print(finding)
        print(f"{len(findings)} findings")
        return 1 if findings else 0
    module, _, name = options.registry.partition(":")
    sys.path.insert(0, "")
    registry = getattr(importlib.import_module(module), name or "registry")
    serve(registry, data=options.data, grpc=options.grpc)
    return 0


if __name__ == "__main__":
    sys.exit(main())
