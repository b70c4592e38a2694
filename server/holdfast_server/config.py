"""Configuration: frozen, checked once, from four places.

A flag wins over a HOLDFAST_* variable, that over what the application gave to
`setup` or `serve`, and that over the default. A `Config` that exists is valid:
every value is in range, and no address is open to a network without a reason.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from holdfast_server.addresses import HostPort, parse_address
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import check_name
from holdfast_server.core.jwt_algorithms import DEFAULT, check_algorithms
from holdfast_server.core.limits import Limits
from holdfast_server.core.origins import ANY_ORIGIN, parse_origin
from holdfast_server.core.tokens import parse_tokens
from holdfast_server.settings import LIMITS, PREFIX, ConfigError, Setting, nearest, table_of
from holdfast_server.telemetry.logging import FORMATS, LEVELS

__all__ = ["LIMITS", "SETTINGS", "Config", "ConfigError", "Setting", "describe", "load", "resolve"]

log = logging.getLogger("holdfast.config")

AUTO: Final = "auto"
OFF: Final = "off"
ADMIN: Final = HostPort("127.0.0.1", 6432)
HTTP: Final = HostPort("127.0.0.1", 6420)
METRICS: Final = HostPort("127.0.0.1", 6431)
# Read by the command line client, so that a server need not know them.
_CLIENT_VARIABLES: Final = frozenset(
    PREFIX + name for name in ("SERVER", "ADMIN_SERVER", "NAMESPACE", "TLS", "CA", "CERT", "KEY")
)


def _check_path(text: str) -> None:
    if not text or "\0" in text:
        raise ValueError("is no path")


def _check_address(text: str) -> None:
    if text != OFF:
        parse_address(text)


def _check_optional_address(text: str) -> None:
    if text not in (AUTO, OFF):
        parse_address(text)


def _check_origins(origins: frozenset[str]) -> None:
    for origin in origins:
        if origin != ANY_ORIGIN and parse_origin(origin) is None:
            raise ValueError(f"holds {origin[:64]!r}, which is not like https://app.example.com")


def _check_namespaces(names: frozenset[str]) -> None:
    if not names:
        raise ValueError("names none")
    for name in names:
        try:
            check_name(name, "namespace")
        except HoldfastError as error:
            raise ValueError(f"holds a bad name: {error.message}") from None


def _check_namespaces_or_all(names: frozenset[str]) -> None:
    if names != {"*"}:
        _check_namespaces(names)


def _check_token(text: str) -> None:
    parse_tokens(text.replace(",", "\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a server is told; `limits` holds every limit with its default."""

    # Directory of the data; made if it is missing.
    data: str = field(default=".holdfast", metadata={"rule": _check_path})
    # Directory for the backups that `holdfast backup` takes of a running server; none when empty.
    backup_dir: str = ""
    # HOST:PORT of the public gRPC server; port 0 is any free one, "off" is none.
    grpc: str = field(default="127.0.0.1:6430", metadata={"rule": _check_address})
    # HOST:PORT of the admin gRPC server: health, reflection and channelz. "auto" is
    # 127.0.0.1:6432, or any free port when `grpc` asks for one; if that is taken, the
    # server does without. "off" is none.
    admin: str = field(default=AUTO, metadata={"rule": _check_optional_address})
    # HOST:PORT of the HTTP and WebSocket gateway. "auto" is 127.0.0.1:6420, or any free port
    # when `grpc` asks for one; if that is taken, the server does without. "off" is none.
    http: str = field(default=AUTO, metadata={"rule": _check_optional_address})
    # HOST:PORT of the HTTP server for operators: /metrics, /healthz and /readyz. "auto" is
    # 127.0.0.1:6431, or any free port when `grpc` asks for one; if that is taken, the server
    # does without. "off" is none.
    metrics: str = field(default=AUTO, metadata={"rule": _check_optional_address})
    # Origins of web pages that may use the gateway, like https://app.example.com, separated
    # by commas; "*" is any. Without a token, pages of this machine may too.
    cors_origins: frozenset[str] = field(default=frozenset(), metadata={"rule": _check_origins})
    # Write a line to the log for each request to the gateway.
    access_log: bool = False
    # Run the server as a child process, and start it again when it dies. The parent holds the
    # gateway's port, so that meanwhile connections wait instead of being refused.
    supervised: bool = False
    # Namespaces that exist, separated by commas.
    namespaces: frozenset[str] = field(
        default=frozenset({"default"}), metadata={"rule": _check_namespaces}
    )
    # Serve gRPC reflection on the public port too.
    reflection: bool = True
    # Accept connections from other machines with neither TLS nor a token.
    insecure: bool = False
    # Tokens that callers must show one of, separated by commas; see docs/operations.md.
    token: str = field(default="", metadata={"secret": True, "rule": _check_token})
    # File with the tokens, one a line; read again on SIGHUP.
    token_file: str = ""
    # File with the keys that JWTs are verified with: a JWKS, public keys in PEM, or a secret of 32
    # bytes or more; read again on SIGHUP, never fetched.
    jwt_keys: str = ""
    # Algorithms that JWTs may be signed with, separated by commas; either HS256 and the like, for
    # a secret, or others.
    jwt_algorithms: frozenset[str] = field(default=DEFAULT, metadata={"rule": check_algorithms})
    # The `iss` that a JWT must have.
    jwt_issuer: str = ""
    # The `aud` that a JWT must have, or have among others.
    jwt_audience: str = ""
    # How far the clocks of issuer and server may be apart, for `exp` and `nbf`.
    jwt_leeway_s: float = 30.0
    # Claim that holds the role of a caller: read, call or admin, or a list.
    jwt_role_claim: str = "holdfast_role"
    # Role of a JWT that lacks that claim.
    jwt_default_role: str = field(
        default="call", metadata={"choices": ("none", "read", "call", "admin")}
    )
    # Claim that holds the namespaces that a caller may use: names separated by spaces, or a list;
    # "*" is all.
    jwt_namespaces_claim: str = "holdfast_namespaces"
    # Namespaces of a JWT that lacks that claim, separated by commas; "*" is all.
    jwt_default_namespaces: frozenset[str] = field(
        default=frozenset({"default"}), metadata={"rule": _check_namespaces_or_all}
    )
    # PEM file with the server's certificate chain; read again on SIGHUP.
    tls_cert: str = ""
    # PEM file with the private key of the certificate.
    tls_key: str = ""
    # PEM file with the authorities that sign clients' certificates; makes them required.
    tls_client_ca: str = ""
    # Put the keys of actors on spans; they may hold what users wrote.
    trace_keys: bool = False
    # Event loop; "auto" is uvloop on Linux where it is installed, else asyncio.
    loop: str = field(default=AUTO, metadata={"choices": (AUTO, "asyncio", "uvloop")})
    # Lines of the log: text for people, or json with one object a line.
    log_format: str = field(default="text", metadata={"choices": FORMATS})
    # Least level of what is logged.
    log_level: str = field(default="info", metadata={"choices": LEVELS})
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            holder = self.limits if name in LIMITS else self
            value = setting.parse(getattr(holder, name), f"the setting {name}")
            if holder is self:
                object.__setattr__(self, name, value)
        self._check_addresses()
        self._check_secrets()

    @property
    def protected(self) -> bool:
        """Whether a caller is checked, or at least nobody can listen in."""
        return bool(self.checked or self.tls_cert)

    @property
    def checked(self) -> bool:
        """Whether callers must show a token."""
        return bool(self.token or self.token_file or self.jwt_keys)

    @property
    def grpc_address(self) -> HostPort | None:
        """Where the public gRPC server listens; None when it is off."""
        return None if self.grpc == OFF else parse_address(self.grpc)

    @property
    def admin_address(self) -> HostPort | None:
        """Where the admin server listens; None when it is off."""
        return self._optional(self.admin, ADMIN)

    @property
    def http_address(self) -> HostPort | None:
        """Where the gateway listens; None when it is off."""
        return self._optional(self.http, HTTP)

    @property
    def metrics_address(self) -> HostPort | None:
        """Where metrics and probes are; None when they are off."""
        return self._optional(self.metrics, METRICS)

    def _optional(self, text: str, default: HostPort) -> HostPort | None:
        if text == OFF:
            return None
        if text != AUTO:
            return parse_address(text)
        # Servers that were given no port take any, where that of gRPC does.
        anywhere = self.grpc_address is not None and not self.grpc_address.port
        return HostPort(default.host, 0) if anywhere else default

    def _check_addresses(self) -> None:
        if self.grpc == self.http == OFF:
            raise ConfigError("--grpc and --http are both off: nobody could call the actors")
        addresses = {
            "grpc": self.grpc_address,
            "admin": self.admin_address,
            "http": self.http_address,
            "metrics": self.metrics_address,
        }
        for first, second in itertools.combinations(addresses, 2):
            shared = addresses[second]
            if shared is not None and shared.port and addresses[first] == shared:
                raise ConfigError(
                    f"{SETTINGS[second].flag}: {shared} is that of {SETTINGS[first].flag}; "
                    "choose another port"
                )
        for name, address in addresses.items():
            if address is None or address.loopback or self.protected or self.insecure:
                continue
            raise ConfigError(
                f"{SETTINGS[name].flag}: {address} can be reached from other machines, and "
                "whoever reaches it could run your actors. Protect it in one of three ways: "
                "TLS (--tls-cert and --tls-key), a token (HOLDFAST_TOKEN or --token-file), or "
                "--insecure if the network itself is trusted"
            )

    def _check_secrets(self) -> None:
        if self.token and self.token_file:
            raise ConfigError("HOLDFAST_TOKEN and --token-file are both given; keep one")
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_key" if self.tls_cert else "tls_cert"
            raise ConfigError(f"{SETTINGS[missing].flag} is missing: TLS needs both files")
        if self.tls_client_ca and not self.tls_cert:
            raise ConfigError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.jwt_keys:
            for name in ("jwt_issuer", "jwt_audience"):
                if not getattr(self, name):
                    raise ConfigError(
                        f"{SETTINGS[name].flag} is missing: without it a JWT that was made for "
                        "somebody else would be accepted"
                    )


SETTINGS: Final[Mapping[str, Setting]] = {**table_of(Config), **LIMITS}


def load(
    environ: Mapping[str, str], flags: Mapping[str, Any] | None = None, **config: Any
) -> Config:
    """The Config of these variables, flags and what the application gave."""
    return resolve(environ, flags or {}, config)[0]


def resolve(
    environ: Mapping[str, str], flags: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Config, dict[str, str]]:
    """The Config, and for each setting that is not at its default who set it."""
    for name in config:
        if name not in SETTINGS:
            raise ConfigError(f"there is no setting {name!r}{nearest(name, SETTINGS)}")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        found = (
            (flags.get(name), setting.flag),
            # An empty variable is how shells and compose files leave one out.
            (environ.get(setting.variable) or None, setting.variable),
            (config.get(name), f"setup({name}=...)"),
        )
        for raw, source in found:
            if raw is not None:
                values[name], sources[name] = setting.parse(raw, source), source
                break
    _warn_of_unknown(environ)
    limits = Limits(**{name: values.pop(name) for name in list(values) if name in LIMITS})
    return Config(limits=limits, **values), sources


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = {setting.variable for setting in SETTINGS.values()}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and name not in _CLIENT_VARIABLES:
            log.warning("there is no setting %s%s", name, nearest(name, known))


def describe(config: Config, sources: Mapping[str, str], *, complete: bool = False) -> str:
    """The settings for people, secrets masked; limits at their defaults only if `complete`."""
    lines = []
    for name, setting in SETTINGS.items():
        if name in LIMITS and name not in sources and not complete:
            continue
        value = getattr(config.limits if name in LIMITS else config, name)
        note = f"  ({sources[name]})" if name in sources else ""
        lines.append(f"  {name:<24} {_shown(setting, value)}{note}".rstrip())
    hidden = sum(name not in sources for name in LIMITS)
    if hidden and not complete:
        lines.append(f"  and {hidden} limits at their defaults; --check-config shows them")
    return "\n".join(lines)


def _shown(setting: Setting, value: Any) -> str:
    if setting.secret:
        return "********" if value else "-"
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "-"


# A field without a default would be no setting.
assert {each.name for each in dataclasses.fields(Config)} == {*table_of(Config), "limits"}
