"""The proto's ErrorReason, the server's catalogue and the SDK's mirror say the same."""

import re
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import ActorError
from holdfast.reasons import REASONS
from holdfast.v1 import error_reason_pb2
from holdfast_server.core.errors import CATALOGUE

PREFIX = "ERROR_REASON_"
PROTO = Path(__file__).resolve().parents[2] / "proto/holdfast/v1/error_reason.proto"
# A value of the enum with the comment above it.
VALUE = re.compile(r"((?:^ *//.*\n)+) *ERROR_REASON_([A-Z_]+) = \d+;", re.MULTILINE)


class Documented(NamedTuple):
    """What the comment of a value says."""

    status: str
    group: str | None
    code: str | None
    retry_info: bool


def documented() -> dict[str, Documented]:
    found = {}
    for comment, name in VALUE.findall(PROTO.read_text(encoding="utf-8")):
        text = " ".join(re.sub(r"^ *//", "", line).strip() for line in comment.splitlines())
        status = re.search(r"\[([A-Z_]+)\]", text)
        pair = re.search(r"(?:\] |\. )([a-z_]+)\.([a-z_]+)(?=[.,;])", text)
        if status is not None:
            group, code = pair.groups() if pair is not None else (None, None)
            found[name] = Documented(status[1], group, code, "RetryInfo" in text)
    return found


def test_the_proto_and_the_catalogue_have_the_same_reasons() -> None:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    names = {value.name.removeprefix(PREFIX) for value in values}
    assert names - {"UNSPECIFIED"} == set(CATALOGUE)
    assert set(documented()) == set(CATALOGUE)


def test_the_comments_of_the_proto_say_what_the_catalogue_does() -> None:
    for name, said in documented().items():
        reason = CATALOGUE[name]
        assert said.status == reason.status, name
        assert said.retry_info == (reason.retry_after_s is not None), name
        if name not in ("USER_ERROR", "INTERNAL_ERROR"):  # theirs are written out
            assert (said.group, said.code) == (reason.group, reason.code), name


def test_the_mirror_of_the_sdk_says_what_the_catalogue_does() -> None:
    mirrored = {
        name: (row.group, row.code, row.status, row.retryable) for name, row in REASONS.items()
    }
    assert mirrored == {
        name: (row.group, row.code, row.status, row.retry_after_s is not None)
        for name, row in CATALOGUE.items()
    }


def test_an_actor_error_knows_what_its_reason_implies() -> None:
    error = ActorError("actor", "overloaded", "full", reason="ACTOR_OVERLOADED")
    assert (error.status, error.retryable) == ("RESOURCE_EXHAUSTED", True)
    other = ActorError("rpc", "x", "y", reason="NO_SUCH_REASON")
    assert (other.status, other.retryable) == ("UNKNOWN", False)


def test_each_reason_is_filed_under_its_own_name() -> None:
    assert {key: reason.reason for key, reason in CATALOGUE.items()} == {
        key: key for key in CATALOGUE
    }


def test_each_pair_of_group_and_code_is_unique() -> None:
    pairs = [(reason.group, reason.code) for reason in CATALOGUE.values()]
    assert len(pairs) == len(set(pairs))
