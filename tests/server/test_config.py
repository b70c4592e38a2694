"""The settings: where they come from, what they refuse, and what a start refuses."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_server.__main__ import main
from holdfast_server.config import LIMITS, SETTINGS, Config, ConfigError, describe, load, resolve
from holdfast_server.settings import Setting
from tests.server.process import COUNTER

REGISTRY = "tests.server.actors:registry"
SECRET = "s3cret-token"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, with nothing of this process's settings."""
    level = logging.getLogger().level
    for name in SETTINGS.values():
        monkeypatch.delenv(name.variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith("app_")]:
        del sys.modules[name]
    yield tmp_path
    logging.getLogger().setLevel(level)


def refused(text: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What a start printed that ended without a traceback and with this in it."""
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.startswith("error: ")
    assert text in printed.err
    return printed.err


# Where values come from


def test_a_flag_wins_over_a_variable_over_the_application_over_the_default() -> None:
    environ = {"HOLDFAST_MAILBOX_MAX": "2"}

    assert load({}).limits.mailbox_max == LIMITS["mailbox_max"].default
    assert load({}, mailbox_max=1).limits.mailbox_max == 1
    assert load(environ, mailbox_max=1).limits.mailbox_max == 2
    assert load(environ, {"mailbox_max": "3"}, mailbox_max=1).limits.mailbox_max == 3


def test_it_is_shown_who_set_what() -> None:
    config, sources = resolve(
        {"HOLDFAST_DATA": "d"}, {"drain_timeout_s": "1.5"}, {"mailbox_max": 7}
    )

    assert sources == {
        "data": "HOLDFAST_DATA",
        "drain_timeout_s": "--drain-timeout-s",
        "mailbox_max": "setup(mailbox_max=...)",
    }
    shown = describe(config, sources)
    assert "drain_timeout_s          1.5  (--drain-timeout-s)" in shown
    assert "replies_max" not in shown
    assert "replies_max" in describe(config, sources, complete=True)


def test_an_empty_variable_is_none() -> None:
    assert load({"HOLDFAST_MAILBOX_MAX": "", "HOLDFAST_DATA": ""}) == Config()


def test_secrets_are_never_shown() -> None:
    config, sources = resolve({"HOLDFAST_TOKEN": SECRET}, {}, {})

    assert config.token == SECRET
    assert SECRET not in describe(config, sources, complete=True)
    with pytest.raises(ConfigError) as caught:
        load({"HOLDFAST_TOKEN": f"{SECRET} {SECRET} {SECRET}"})
    assert SECRET not in str(caught.value)


def test_an_unknown_variable_is_warned_of_with_the_nearest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        load({"HOLDFAST_MAILBOX_MX": "2", "HOLDFAST_SERVER": "x:1", "HOME": "/"})

    assert [record.getMessage() for record in caplog.records] == [
        "there is no setting HOLDFAST_MAILBOX_MX; did you mean HOLDFAST_MAILBOX_MAX?"
    ]


def test_an_unknown_setting_of_the_application_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no setting 'grcp'; did you mean grpc"):
        load({}, grcp="127.0.0.1:1")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_is(setting: Setting) -> None:
    assert setting.help
    assert setting.parse(setting.default, "here") == setting.default
    if setting.name in LIMITS:
        assert setting.unit in ("bytes", "count", "seconds")


# What is refused


def bad_values(setting: Setting) -> list[Any]:
    kind = type(setting.default)
    if kind is bool:
        return ["maybe", 2, "onn"]
    if kind in (int, float):
        values = ["", "x", "-1", "nan", "inf", "1e400", "1,5", True, None, [], setting.high * 2]
        values += ["1.5"] if kind is int else []
        return values + (["0"] if setting.low == 1 or setting.above else [])
    if setting.choices:
        return ["", "x", 1]
    if setting.name in ("grpc", "admin", "http"):
        hosts = ["x", ":6430", "a:b", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "[::1]"]
        return [*hosts, "[::g]:1", "::1:6430", "http://a:1", "a b:1", "*:1", "a:-1", "", 1]
    if setting.name == "cors_origins":
        return [
            "null",
            "example.org",
            "https://a.org/x",
            "https://",
            "http://a:99999",
            "http://a@b",
        ]
    if kind is frozenset:
        return ["", ",", "a b", "-a", "a," + "x" * 65]
    return [1, None, b"x"]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_bad_values_are_refused_by_name(setting: Setting) -> None:
    for value in bad_values(setting):
        with pytest.raises(ConfigError, match=f"^{setting.flag}: "):
            setting.parse(value, setting.flag)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_cert": "c.pem"}, "--tls-key is missing"),
        ({"tls_key": "k.pem"}, "--tls-cert is missing"),
        ({"tls_client_ca": "ca.pem"}, "--tls-client-ca needs"),
        ({"token": "a", "token_file": "f"}, "keep one"),
        ({"token": "a b c"}, "line 1: more than"),
        ({"token": "not/allowed!"}, "line 1: a token is"),
        ({"token": ",".join(f"t{n}" for n in range(65))}, "at most 64"),
        ({"data": ""}, "data"),
        ({"grpc": "127.0.0.1:7", "admin": "127.0.0.1:7"}, "--admin: 127.0.0.1:7 is that of --grpc"),
        ({"admin": "127.0.0.1:7", "http": "127.0.0.1:7"}, "--http: 127.0.0.1:7 is that of --admin"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({}, **given)


@pytest.mark.parametrize("name", ["grpc", "admin", "http"])
@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1"])
def test_an_open_address_needs_a_reason(name: str, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, **{name: address})

    for remedy in ("--tls-cert", "HOLDFAST_TOKEN", "--token-file", "--insecure"):
        assert remedy in str(caught.value)
    for reason in ({"insecure": True}, {"token": "t"}, {"tls_cert": "c", "tls_key": "k"}):
        load({}, **{name: address}, **reason)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_a_loopback_address_needs_none(address: str) -> None:
    assert load({}, grpc=address).grpc == address


def test_grpc_may_be_off_where_there_is_a_gateway() -> None:
    config = load({}, grpc="off")

    assert config.grpc_address is None
    assert (str(config.http_address), str(config.admin_address)) == (
        "127.0.0.1:6420",
        "127.0.0.1:6432",
    )
    with pytest.raises(ConfigError, match="both off"):
        load({}, grpc="off", http="off")


# The command


def test_check_config_shows_every_setting(
    directory: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_TOKEN", SECRET)

    assert main(["serve", REGISTRY, "--check-config", "--mailbox-max", "9"]) == 0

    printed = capfd.readouterr().out
    assert "mailbox_max              9  (--mailbox-max)" in printed
    assert SECRET not in printed
    assert all(f"  {name}" in printed for name in SETTINGS)
    assert not (directory / ".holdfast").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mailbox-max", "0"], "--mailbox-max: '0' must be at least 1"),
        (["--grpc", "6430"], "--grpc: '6430' is not HOST:PORT"),
        (["--grpc", "0.0.0.0:6430"], "--insecure"),
        (["--loop", "trio"], "--loop: 'trio' is not one of auto, asyncio, uvloop"),
        (["--token-file", "none"], "--token-file: cannot read none: No such file"),
        (["--tls-cert", "no.pem", "--tls-key", "no.key"], "--tls-cert: cannot read no.pem"),
    ],
)
def test_check_config_refuses_what_a_start_would(
    directory: Path, capfd: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["serve", REGISTRY, "--check-config", *flags]) == 2
    refused(message, capfd)


@pytest.mark.parametrize("flags", [["--mailbox", "1"], ["--token", "x"], ["--mailbox-max"]])
def test_flags_are_never_guessed(
    directory: Path, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", REGISTRY, *flags])

    assert caught.value.code == 2
    assert flags[0] in capfd.readouterr().err


# The application

NOT_GUARDED = COUNTER + "\nregistry.serve()\n"
BAD_OPTION = COUNTER.replace("state = Count", "state = Count\n    slep_timeout_s = 3")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("app_none:registry", None, "there is no module 'app_none'"),
        ("app_none.py", None, "there is no file app_none.py"),
        ("app_a:", COUNTER, "names no registry"),
        ("app_a:regstry", COUNTER, "has no 'regstry'; it has registry"),
        ("app_a:Counter", COUNTER, "is a type and not a Registry"),
        ("app_a", "x = 1", "app_a has no registry"),
        ("app_a", "def (", 'app_a.py", line 1'),
        ("app_a", "\n1 / 0", "app_a.py, line 2, in <module>: 1 / 0"),
        ("app_a", "import app_missing", "No module named 'app_missing'"),
        ("app_a", "raise SystemExit(3)", "SystemExit: 3"),
        ("app_a", BAD_OPTION, "Counter.slep_timeout_s: unknown option"),
        ("app_a", NOT_GUARDED, "put it under `if __name__"),
        ("app_a", COUNTER + "\nother = setup(use={})\ndel registry; b = setup(use={})", "several"),
    ],
)
def test_an_application_that_cannot_be_loaded(
    directory: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    source: str | None,
    message: str,
) -> None:
    if source is not None:
        (directory / "app_a.py").write_text(source)

    assert main(["serve", name, "--check-config"]) == 2
    assert __file__ not in refused(message, capfd)


@pytest.mark.parametrize("name", ["app_b", "app_b:registry", "app_b.py", "pkg/app_b.py:registry"])
def test_an_application_is_found_by_module_or_file(
    directory: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (directory / "pkg").mkdir()
    (directory / "pkg" / "__init__.py").write_text("")
    for where in (directory, directory / "pkg"):
        (where / "app_b.py").write_text(COUNTER)

    assert main(["serve", name, "--check-config"]) == 0
