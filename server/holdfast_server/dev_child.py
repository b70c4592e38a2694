"""The child process of `holdfast dev`: a server that ends when its parent lets go of it.

Started as `python -m holdfast_server.dev_child FD FILE [flags]`. At the end of the
pipe FD it drains: the parent wants a restart, or is gone. Before it serves there
is nothing to drain, and it ends at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.registry import Registry
from holdfast_server.app import announce, serve_process, start_logging
from holdfast_server.dev import DRAIN_TIMEOUT_S, parser
from holdfast_server.process.failures import EXPLAINED, OK, exit_code
from holdfast_server.process.flags import flags_of
from holdfast_server.process.loader import load_registry
from holdfast_server.process.parent import Parent
from holdfast_server.process.shutdown import Shutdown
from holdfast_server.server import Server

# A restart should not wait long for streams that nobody reads.
_DEFAULTS: Final = {"drain_timeout_s": DRAIN_TIMEOUT_S, "drain_streams_s": 0.5}
_EXAMPLES_MAX: Final = 3
_VALUES: Final[Mapping[str, Any]] = {
    "array": [],
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "object": {},
    "string": "hello",
}


def main(arguments: Sequence[str]) -> int:
    """Serve until the pipe ends; the exit code."""
    options = parser().parse_args(arguments[1:])
    start_logging()
    running: list[Shutdown] = []

    def drain() -> None:
        if not running:
            os._exit(OK)
        running[0].ask()

    Parent(int(arguments[0]), drain)
    try:
        registry = load_registry(options.file)
    except EXPLAINED as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return exit_code(error)

    def ready(server: Server, shutdown: Shutdown) -> None:
        running.append(shutdown)
        announce(server, shutdown)
        print(hints(registry, server.port), flush=True)

    config = {**_DEFAULTS, **registry.config}
    return serve_process(
        registry,
        flags=flags_of(options),
        config=config,
        show=False,
        may_supervise=False,
        on_ready=ready,
    )


def hints(registry: Registry, port: int) -> str:
    """What is served, and commands to try."""
    lines, examples = [], []
    client = "holdfast" if port == 6430 else f"holdfast --server 127.0.0.1:{port}"
    for name in sorted(registry.types):
        actions = registry.types[name].describe()["actions"]
        lines.append(f"  {name}: {', '.join(action['name'] for action in actions) or 'no actions'}")
        for action in sorted(actions, key=lambda each: each["read_only"])[:1]:
            examples.append(f"  {client} call {name} demo {action['name']}{_arguments(action)}")
    if examples:
        first = sorted(registry.types)[0]
        examples = [*examples[:_EXAMPLES_MAX], f"  {client} actors list {first}"]
        lines += ["Try, in another shell:", *examples]
    return "\n".join(["Actors:", *lines])


def _arguments(action: Mapping[str, Any]) -> str:
    schema = action["arguments_schema"]
    values = [
        _VALUES.get(schema["properties"][name].get("type", ""))
        for name in action["parameters"]
        if name in schema["required"]
    ]
    return "".join(f" {shlex.quote(json.dumps(value))}" for value in values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
