"""Lists of tokens: what a line may say, and what is refused without a word of the token."""

from __future__ import annotations

import hashlib

import pytest

from holdfast import ActorError, Client
from holdfast_server.__main__ import main
from holdfast_server.core.auth import Identity, Role
from holdfast_server.core.tokens import TokenError, Tokens, parse_tokens
from tests.security.actors import Witness
from tests.security.conftest import Place


def identity_of(line: str, token: str, now: float = 0.0) -> Identity | None:
    return Tokens(parse_tokens(line), now=lambda: now).identify(token)


def test_a_line_that_narrows_nothing_is_of_an_admin_everywhere() -> None:
    for line, name in (("secret", ""), ("ada secret", "ada")):
        identity = identity_of(line, "secret")
        assert identity is not None
        assert (identity.name, identity.role, identity.namespaces) == (name, Role.ADMIN, None)
        assert identity.expires_at_s is None


def test_what_narrows_a_token_stands_behind_it() -> None:
    line = "ada s3cret==  role=read namespaces=a,b namespaces=c expires=2027-01-01"
    identity = identity_of(line, "s3cret==")

    assert identity is not None
    assert (identity.role, identity.namespaces) == (Role.READ, {"a", "b", "c"})
    assert identity.expires_at_s == 1798761600.0


@pytest.mark.parametrize(
    ("when", "end"),
    [
        ("2027-01-01", 1798761600.0),
        ("2027-01-01T12:00:00Z", 1798804800.0),
        ("2027-01-01T12:00:00+02:00", 1798797600.0),
    ],
)
def test_a_token_ends_when_its_line_says(when: str, end: float) -> None:
    assert identity_of(f"t expires={when}", "t", now=end - 0.001) is not None
    assert identity_of(f"t expires={when}", "t", now=end) is None


def test_a_digest_stands_for_its_token() -> None:
    digest = hashlib.sha256(b"s3cret").hexdigest()
    for line in (f"sha256:{digest}", f"sha256:{digest.upper()} role=call", f"ada sha256:{digest}"):
        assert identity_of(line, "s3cret") is not None
        assert identity_of(line, digest) is None
        assert identity_of(line, f"sha256:{digest}") is None
    plain, hashed = identity_of("s3cret", "s3cret"), identity_of(f"sha256:{digest}", "s3cret")
    assert plain is not None
    assert hashed is not None
    # What its caller has stored is still theirs when the list is hashed.
    assert plain.caller == hashed.caller


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ada s3cret role=root", "role= is one of read, call, admin"),
        ("ada s3cret role=none", "role= is one of"),
        ("ada s3cret namespaces=a,,b", "namespaces="),
        ("ada s3cret namespaces=*", "namespaces="),
        ("ada s3cret expires=soon", "expires= is like"),
        ("ada s3cret until=2027-01-01", "only role="),
        ("role=read s3cret", "stand behind the token"),
        ("ada role=read s3cret", "stand behind the token"),
        ("role=read", "no token"),
        ("ada lovelace s3cret", "more than a caller and a token"),
        ("ada sha256:s3cret", "64 hexadecimal digits"),
        ("ada md5:s3cret", "a token is 1 to"),
        ("a:da s3cret", "a caller is 1 to"),
    ],
)
def test_lines_that_are_refused(line: str, message: str) -> None:
    with pytest.raises(TokenError, match=message) as caught:
        parse_tokens(f"# a comment\n\n{line}")
    assert str(caught.value).startswith("line 3: ")
    assert "s3cret" not in str(caught.value)


def test_a_made_token_is_accepted_by_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--caller",
        "ada",
        "--role",
        "call",
        "--namespaces",
        "a,b",
        "--expires",
        "2999-01-01",
    ]
    assert main(["token", *options]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    token, line = said["token"], said["line"].strip()

    assert token not in line
    identity = identity_of(line, token)
    assert identity is not None
    assert (identity.name, identity.role, identity.namespaces) == ("ada", Role.CALL, {"a", "b"})
    assert main(["token"]) == 0
    assert token not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--caller", "a b"], ["--namespaces", ","], ["--expires", "soon"]]
)
def test_a_token_is_made_of_what_a_line_may_say(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", *options]) == 2
    assert capsys.readouterr().out == ""


async def test_a_hashed_list_lets_its_callers_in(place: Place) -> None:
    place.accept(f"ada sha256:{hashlib.sha256(b's3cret').hexdigest()} role=call")
    address = f"127.0.0.1:{place.server.port}"
    async with Client(address, token="s3cret", timeout=10) as client:
        assert (await client.get_or_create(Witness, ["a"]).who())[1] == "ada"
    stolen = place.tokens.read_text().split()[1]
    async with Client(address, token=stolen.split(":")[1], timeout=10) as client:
        with pytest.raises(ActorError, match="unauthenticated"):
            await client.get_or_create(Witness, ["a"]).who()
