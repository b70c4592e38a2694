"""Which web pages may use the gateway: the rule for the headers Origin and Host.

A browser sends both of its own accord, and a page cannot forge them. Without a token
whoever reaches the server may run its actors, so any page that a developer looks at
could: then an Origin must be of this machine, be that of the gateway itself, or be
listed, and so must a Host, since a page may give its own name the address of this machine.
A Host that is an address in digits is nobody's name, so it is accepted where the server
is open to a network. With a token a page needs that too, and only its Origin is looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

ANY_ORIGIN: Final = "*"
_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)\Z", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?\Z", re.ASCII
)


class Host(NamedTuple):
    """A host by its lower-case name, and its port, if it was given."""

    name: str
    port: int | None


class Origin(NamedTuple):
    """Where a page is from; `port` is the scheme's own where none is named."""

    scheme: str
    host: str
    port: int | None


def parse_host(text: str) -> Host | None:
    """The host and port in a Host header; None when it is none."""
    match = _HOST.match(text)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    if match["six"] is not None:
        try:
            name = ipaddress.IPv6Address(match["six"]).compressed
        except ValueError:
            return None
    else:
        name = match["name"].lower().rstrip(".")
    return Host(name, int(match["port"]) if match["port"] else None)


def parse_origin(text: str) -> Origin | None:
    """The origin in an Origin header; None when it is none, as "null" is none."""
    match = _ORIGIN.match(text)
    host = parse_host(match[2]) if match is not None else None
    if match is None or host is None:
        return None
    scheme = match[1].lower()
    return Origin(scheme, host.name, host.port or _PORTS.get(scheme))


def is_loopback(name: str) -> bool:
    """Whether a host can only be this machine, whatever the network's names say."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Origins:
    """The rule of one server: `listed` is its setting, `checked` whether it has tokens,
    `loopback` whether only this machine reaches it."""

    __slots__ = ("_any", "_checked", "_hosts", "_listed", "_loopback")

    def __init__(self, listed: Iterable[str], *, checked: bool, loopback: bool) -> None:
        names = set(listed)
        self._any = ANY_ORIGIN in names
        found = {parse_origin(name) for name in names - {ANY_ORIGIN}}
        self._listed = {origin for origin in found if origin is not None}
        self._hosts = {origin.host for origin in self._listed}
        self._checked = checked
        self._loopback = loopback

    def accepts_host(self, header: str | None) -> bool:
        """Whether a request may name the server so."""
        if self._checked or self._any:
            return True
        host = parse_host(header or "")
        if host is None:
            return False
        return (
            is_loopback(host.name)
            or host.name in self._hosts
            or (not self._loopback and _is_address(host.name))
        )

    def accepts_origin(self, header: str | None, host: str | None) -> bool:
        """Whether a page from there may use the server, which it names `host`; what is no
        page sends no Origin."""
        if header is None or self._any:
            return True
        origin = parse_origin(header)
        if origin is None:
            return False
        if origin in self._listed or (not self._checked and is_loopback(origin.host)):
            return True
        own = parse_host(host or "")
        if own is None or own.name != origin.host:
            return False
        return own.port == origin.port or (
            own.port is None and origin.port == _PORTS.get(origin.scheme)
        )
