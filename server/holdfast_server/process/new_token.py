"""`holdfast-server token`: makes a random token, and the line of a list that accepts it."""

from __future__ import annotations

import argparse
import secrets

from holdfast_server.core.auth import ROLES
from holdfast_server.core.tokens import TokenError, digest_of, parse_tokens
from holdfast_server.settings import ConfigError

# As many bits as the digest that stands for it.
_TOKEN_BYTES = 32


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the line says beside the token."""
    parser.add_argument("--caller", help="name of the caller; none: the token is its own")
    parser.add_argument("--role", choices=tuple(ROLES), help="what it may do [default: admin]")
    parser.add_argument("--namespaces", help="those that it may use, separated by commas")
    parser.add_argument("--expires", help="when it ends, like 2027-01-01 or 2027-01-01T12:00:00Z")


def new_token(options: argparse.Namespace) -> tuple[str, str]:
    """A token, and its line, which holds its digest only; ConfigError for a wrong option."""
    # Begins with what scanners for secrets can look for, and never with a dash.
    token = f"hf_{secrets.token_urlsafe(_TOKEN_BYTES)}"
    words = [options.caller] if options.caller is not None else []
    words.append(f"sha256:{digest_of(token).hex()}")
    for name in ("role", "namespaces", "expires"):
        value = getattr(options, name)
        if value is not None:
            words.append(f"{name}={value}")
    line = " ".join(words)
    try:
        (_,) = parse_tokens(line)
    except (TokenError, ValueError) as error:
        raise ConfigError(str(error).removeprefix("line 1: ")) from None
    return token, line
