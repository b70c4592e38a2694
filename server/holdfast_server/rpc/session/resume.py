"""Resume tokens: what a client shows to go on with the connections of a broken session.

A token is 32 random bytes and a secret; a session that goes on in another keeps it.
Everything else knows a digest only, which connections are stored with. It is made of
the caller and the namespace too, so that a token is worth nothing to anybody else.
"""

from __future__ import annotations

import hashlib
from typing import Final

TOKEN_BYTES: Final = 32


def digest_of(token: bytes, caller: bytes, namespace: str) -> bytes:
    """The 16 bytes by which a session is known."""
    digest = hashlib.blake2b(token, digest_size=16, person=b"session")
    digest.update(caller)
    digest.update(namespace.encode())
    return digest.digest()
