"""Who may connect: the tokens and the TLS files of a Config, read and checked.

Files are read when the server starts and again on SIGHUP. What cannot be read or
does not fit together is a ConfigError at the start; on SIGHUP it is logged, and
what was in force stays in force.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from holdfast_server.config import Config
from holdfast_server.core.tokens import Token, TokenError, Tokens, Verify, parse_tokens
from holdfast_server.settings import ConfigError

log = logging.getLogger("holdfast.security")

_FILE_BYTES_MAX = 1 << 20


class TlsFiles(NamedTuple):
    """The contents of the TLS files, and the same as OpenSSL has them; `client_ca` makes
    client certificates required."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext


class Security:
    """The tokens and the TLS files that are in force."""

    def __init__(self, config: Config, now: Callable[[], float] = time.time) -> None:
        """`now` is the time since 1970 in seconds, by which tokens expire."""
        self._config = config
        self._now = now
        self.tokens = Tokens(_read_tokens(config), now=now, verify=_read_verifier(config, now))
        self.tls = _read_tls(config)
        if config.checked:
            self._warn_of_plain_text()

    def reload(self) -> None:
        """Read the files again; on a mistake keep what is in force."""
        config = self._config
        if not (config.token_file or config.tls_cert or config.jwt_keys):
            log.info("SIGHUP: neither a token file nor TLS files nor keys of JWTs to read again")
            return
        try:
            tokens, tls = _read_tokens(config), _read_tls(config)
            verify = _read_verifier(config, self._now)
        except ConfigError as error:
            log.error("SIGHUP: nothing was changed: %s", error)
            return
        self.tokens.replace(tokens, verify)
        self.tls = tls
        read = [", TLS files read"] if tls else []
        read += [", keys of JWTs read"] if verify else []
        log.info("SIGHUP: %d tokens in force%s", len(tokens), "".join(read))

    def _warn_of_plain_text(self) -> None:
        config = self._config
        addresses = [config.grpc_address, config.admin_address, config.http_address]
        if self.tls is None and any(each is not None and not each.loopback for each in addresses):
            log.warning("without TLS, tokens cross the network in plain text")


def _read(path: str, flag: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag}: cannot read {path}: {error.strerror}") from None
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"{flag}: {path} has more than {_FILE_BYTES_MAX} bytes")
    return data


def _read_tokens(config: Config) -> tuple[Token, ...]:
    if not config.token_file:
        return parse_tokens(config.token.replace(",", "\n"))
    data = _read(config.token_file, "--token-file")
    try:
        tokens = parse_tokens(data.decode("ascii"))
    except (TokenError, UnicodeDecodeError) as error:
        what = "it is not ASCII text" if isinstance(error, UnicodeDecodeError) else error
        raise ConfigError(f"--token-file: {config.token_file}: {what}") from None
    if not tokens:
        # An empty file must not open the server to everybody.
        raise ConfigError(f"--token-file: {config.token_file} holds no token")
    return tokens


def _read_verifier(config: Config, now: Callable[[], float]) -> Verify | None:
    if not config.jwt_keys:
        return None
    # Here, since cryptography takes a while to load, and most servers need none of it.
    from holdfast_server.process.jwt import read_verifier

    return read_verifier(config, now)


def _read_tls(config: Config) -> TlsFiles | None:
    if not config.tls_cert:
        return None
    certificate = _read(config.tls_cert, "--tls-cert")
    key = _read(config.tls_key, "--tls-key")
    # gRPC takes anything here and fails at each handshake; OpenSSL says what is wrong.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password=_no_password)
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise ConfigError(
            f"--tls-cert and --tls-key: {config.tls_cert} and {config.tls_key} are no "
            f"certificate with its key in PEM: {why}"
        ) from None
    client_ca = None
    if config.tls_client_ca:
        client_ca = _read(config.tls_client_ca, "--tls-client-ca")
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise ConfigError(
                f"--tls-client-ca: {config.tls_client_ca} holds no certificates in PEM: {why}"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return TlsFiles(certificate, key, client_ca, context)


def _no_password() -> str:
    raise ConfigError("--tls-key: the key is encrypted; keep it in a file without a password")
