"""HOST:PORT addresses: their syntax, how far they reach, and whether they are free."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from typing import Any, Final, NamedTuple

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]/*]+)):(?P<port>\d{1,5})\Z", re.ASCII
)

# Connections that wait to be accepted while the loop is busy, or the server starts.
BACKLOG: Final = 1024


class HostPort(NamedTuple):
    """Where a server listens; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it. A name is not trusted, but `localhost`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def parse_address(text: str) -> HostPort:
    """The address in `text`; ValueError when it is none."""
    match = _ADDRESS.match(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("is not HOST:PORT, like 127.0.0.1:6430 or [::1]:6430")
    if match["six"] is not None:
        try:
            ipaddress.IPv6Address(match["six"])
        except ValueError:
            raise ValueError("holds no IPv6 address in its brackets") from None
    return HostPort(match["six"] or match["host"], int(match["port"]))


def why_not_free(address: HostPort) -> str:
    """Why nobody can listen there; empty when one can.

    gRPC says only that it failed, so the reason is found by trying first.
    """
    try:
        found = _resolve(address)
    except OSError as error:
        return f"the host cannot be resolved: {error.strerror or error}"
    reason, usable = "", False
    for family, where in found:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(where)
                probe.listen(1)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return "the port is in use by another process"
                reason = os.strerror(error.errno) if error.errno else str(error)
            else:
                usable = True
    return "" if usable else reason


def bind(address: HostPort) -> list[socket.socket]:
    """Sockets that listen there, one for each address of the host, and on one port also where
    any free one is asked for; OSError when that cannot be."""
    made: list[socket.socket] = []
    try:
        for family, where in _resolve(address):
            port = made[0].getsockname()[1] if made else address.port
            made.append(bound := socket.socket(family, socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((where[0], port, *where[2:]))
            bound.listen(BACKLOG)
            bound.setblocking(False)
    except BaseException:
        for each in made:
            each.close()
        raise
    return made


def _resolve(address: HostPort) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return [(family, where) for family, _, _, _, where in found]
