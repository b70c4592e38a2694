"""The address of a server, checked when a client is made.

gRPC takes nearly any text for an address and finds out at the first call: a missing
port becomes 443, a port beyond 65535 another port, "http:" a host. Here each is an error
that names the remedy.
"""

from __future__ import annotations

import re
from typing import Final

_SCHEMES: Final = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]/\s]+):(?P<port>[0-9]+)")
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)")


def check_address(address: str) -> str:
    """The address as gRPC takes it; TypeError or ValueError that says how to write one.

    "host:port", "[::1]:6430", "unix:/path/of/socket", or any of gRPC's own schemes
    dns:, ipv4:, ipv6: and unix-abstract:.
    """
    if not isinstance(address, str):
        raise TypeError(f"an address is a string, not {type(address).__name__}")
    if address.startswith(_SCHEMES):
        if not address.split(":", 1)[1].strip("/"):
            raise ValueError(f"address {address!r}: nothing follows the scheme")
        return address
    url = _URL.fullmatch(address)
    if url is not None:
        tls = ", with tls=True" if url["scheme"] in ("https", "grpcs") else ""
        raise ValueError(
            f"address {address!r}: give host and port only{tls}: {url['rest'].rstrip('/')!r}"
        )
    found = _HOST_PORT.fullmatch(address)
    if found is None:
        raise ValueError(f"address {address!r}: {_remedy(address)}")
    if not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f"address {address!r}: a port is a number from 1 to 65535")
    return address


def _remedy(address: str) -> str:
    if address.count(":") > 1 and "[" not in address:
        return "write an IPv6 address in brackets, '[::1]:6430'"
    if ":" not in address and address.strip() == address and address:
        return f"add the port, '{address}:6430'"
    return "expected 'host:port', such as '127.0.0.1:6430'"


__all__ = ["check_address"]
