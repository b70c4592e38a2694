"""The composition root: one server process, from its settings to its exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from holdfast.registry import Registry
from holdfast_server.addresses import bind
from holdfast_server.config import AUTO, SETTINGS, Config, describe, resolve
from holdfast_server.process import loader
from holdfast_server.process.failures import (
    EXPLAINED,
    FAILED,
    OK,
    AppError,
    StartError,
    exit_code,
)
from holdfast_server.process.going_on import run_to_its_end
from holdfast_server.process.shutdown import Shutdown
from holdfast_server.process.supervisor import Supervised, Supervisor
from holdfast_server.process.system import loop_factory, spare_the_collector
from holdfast_server.runtime.runners.local import current_fields
from holdfast_server.server import Server
from holdfast_server.store.api import StoreError
from holdfast_server.telemetry.logging import configure

__all__ = ["OnReady", "Server", "run", "serve", "serve_process", "start_logging"]

log = logging.getLogger("holdfast.server")

OnReady = Callable[[Server, Shutdown], None]


def announce(server: Server, _: Shutdown) -> None:
    """Say where this server is."""
    config = server.config
    if config.grpc_address is None:
        print(f"Holdfast serves without gRPC, data in {config.data}", flush=True)
    else:
        public = config.grpc_address._replace(port=server.port)
        print(f"Holdfast serves gRPC on {public}, data in {config.data}", flush=True)
    if server.admin_port and config.admin_address is not None:
        admin = config.admin_address._replace(port=server.admin_port)
        print(f"Admin on {admin}: health, reflection, channelz", flush=True)
    if server.http_port and config.http_address is not None:
        scheme = "https" if config.tls_cert else "http"
        http = config.http_address._replace(port=server.http_port)
        what = "HTTP, WebSocket, Connect, RivetKit's clients"
        print(f"Gateway on {scheme}://{http}: {what}", flush=True)
    if server.metrics_port and config.metrics_address is not None:
        scheme = "https" if config.tls_cert else "http"
        metrics = config.metrics_address._replace(port=server.metrics_port)
        print(f"Metrics on {scheme}://{metrics}/metrics, probes beside them", flush=True)


async def run(
    registry: Registry,
    config: Config,
    on_ready: OnReady = announce,
    supervised: Supervised | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; the exit code."""
    server = Server(registry, config, http=None if supervised is None else supervised.http)
    with Shutdown(lambda: server.reload()) as shutdown:
        await server.start()
        if server.tracing is not None:
            server.tracing.share()
        spare_the_collector()
        if supervised is not None:
            supervised.serves()
        on_ready(server, shutdown)
        await shutdown.wait()
        log.info("draining; a second signal exits at once")
        try:
            await server.stop()
        except StoreError as error:
            log.error("closing the store failed: %s", error)
            return FAILED
    log.info("drained")
    if server.threads_busy:
        # The interpreter would wait for it; its turn is rolled back all the same.
        log.warning("a threaded action still runs and is left behind")
        _flush()
        os._exit(OK)
    return OK


def serve_process(
    registry: Registry,
    *,
    flags: Mapping[str, Any],
    config: Mapping[str, Any],
    check: bool = False,
    show: bool = True,
    may_supervise: bool = True,
    on_ready: OnReady = announce,
) -> int:
    """Run a server until it is told to stop; the exit code.

    In this process, or, where the settings want it `supervised` and the caller allows it, in a
    child. `check` only shows the settings, after they and the files they name are found right.
    """
    start_logging()
    try:
        settings, sources = resolve(os.environ, flags, config)
        configure(settings.log_format, settings.log_level, current_fields)
        factory = loop_factory(settings.loop)
        supervised = Supervised.of_environment()
        if settings.supervised and supervised is None and may_supervise and not check:
            return supervise(settings)
        if show:
            print(f"Holdfast {version('holdfast')}, process {os.getpid()}, settings:")
            print(describe(settings, sources, complete=check), flush=True)
        if check:
            Server(registry, settings).check()
            return OK
        main = run(registry, settings, on_ready, supervised)
        return run_to_its_end(main, factory, lambda: Shutdown.active)
    except EXPLAINED as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return exit_code(error)


def supervise(config: Config) -> int:
    """Keep a child running that serves; the exit code."""
    address = config.http_address
    try:
        sockets = [] if address is None else bind(address)
    except OSError as error:
        what = f"cannot listen on {address}: {error.strerror or error}"
        if config.http != AUTO:
            raise StartError(f"{SETTINGS['http'].flag}: {what}") from None
        log.warning("no gateway: %s", what)
        sockets = []
    return Supervisor(sockets, config.limits.restart_wait_s).run()


def serve(registry: Registry, **config: Any) -> None:
    """Run a server until it is told to stop; what `Registry.serve` does."""
    if loader.importing:
        raise AppError(
            "registry.serve() ran while the application was imported; "
            'put it under `if __name__ == "__main__":`'
        )
    code = serve_process(registry, flags={}, config=config)
    if code != OK:
        sys.exit(code)


def start_logging() -> None:
    """Log to stderr, unless the application has set logging up already."""
    configure("text", "info", current_fields)


def _flush() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
