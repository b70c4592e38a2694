"""What gRPC would tell of the certificate that a client has shown in TLS.

The names are gRPC's, since stored replies belong to the caller that they make, over whichever
port it comes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any, Final

from holdfast_server.core.auth import NOBODY, Identity, certificate_identity

_COMMON: Final = "x509_common_name"
_ALTERNATIVE: Final = "x509_subject_alternative_name"
_WHOLE: Final = "x509_pem_cert"
_TEXTS: Final = frozenset({"DNS", "URI", "email"})
_ADDRESS: Final = "IP Address"
# What gRPC has in place of a name of any other kind.
_OTHER: Final = b"other types of SAN"


def properties_of(transport: asyncio.BaseTransport | None) -> dict[str, tuple[bytes, ...]]:
    """The properties of the client's certificate; empty without one."""
    secured = None if transport is None else transport.get_extra_info("ssl_object")
    whole = None if secured is None else secured.getpeercert(binary_form=True)
    if secured is None or whole is None:
        return {}
    found: Mapping[str, Any] = secured.getpeercert()
    properties: dict[str, tuple[bytes, ...]] = {_WHOLE: (ssl.DER_cert_to_PEM_cert(whole).encode(),)}
    names = [
        value for part in found.get("subject", ()) for kind, value in part if kind == "commonName"
    ]
    if names:
        properties[_COMMON] = (names[0].encode(),)
    others = tuple(_name(kind, value) for kind, value in found.get("subjectAltName", ()))
    if others:
        properties[_ALTERNATIVE] = others
    return properties


def identity_of(transport: asyncio.BaseTransport | None) -> Identity:
    """Whom the client's certificate names, as `rpc.auth` has it of gRPC's."""
    properties = properties_of(transport)
    for kind in (_ALTERNATIVE, _COMMON, _WHOLE):
        names = properties.get(kind)
        if names:
            return certificate_identity(kind, names)
    return NOBODY


def _name(kind: str, value: Any) -> bytes:
    if kind in _TEXTS:
        return str(value).encode()
    if kind == _ADDRESS:
        return str(ipaddress.ip_address(str(value).strip())).encode()
    return _OTHER
