"""What is sent to clients is what they were seen to understand."""

from typing import Any

import pytest

from tests.gateway.replies import METADATA_UNDERSTOOD, REPLIES, sent_to_client
from tests.gateway.vectors import ENCODINGS, KINDS, load

EVERYTHING = [(kind, encoding) for kind in KINDS for encoding in ENCODINGS]


@pytest.mark.parametrize(("kind", "encoding"), EVERYTHING)
def test_the_bytes_are_those_that_clients_were_given(kind: str, encoding: str) -> None:
    given = load("read")[kind][encoding]["given"]
    assert sent_to_client(encoding, tagged=kind == "tagged") == given


@pytest.mark.parametrize("part", ["bodies", "frames"])
@pytest.mark.parametrize(("kind", "encoding"), EVERYTHING)
def test_results_are_understood(kind: str, encoding: str, part: str) -> None:
    understood = load("read")[kind][encoding]["understood"][part]
    for name, reply in REPLIES.items():
        expected = reply.expected(encoding, tagged=kind == "tagged")
        assert understood[name] == {"value": expected}, name


@pytest.mark.parametrize(("kind", "encoding"), EVERYTHING)
def test_events_are_understood(kind: str, encoding: str) -> None:
    understood = load("read")[kind][encoding]["understood"]["frames"]
    expected = [reply.expected(encoding, tagged=kind == "tagged") for reply in REPLIES.values()]
    assert understood["event"] == {"value": None, "events": [expected]}
    assert understood["noArguments"] == {"value": None, "events": [[]]}


@pytest.mark.parametrize("part", ["bodies", "frames"])
@pytest.mark.parametrize(("kind", "encoding"), EVERYTHING)
def test_errors_are_understood(kind: str, encoding: str, part: str) -> None:
    understood = load("read")[kind][encoding]["understood"][part]
    error: dict[str, Any] = {"group": "user", "code": "my_code", "message": "user boom: zoë"}
    plain = dict(understood["failure"]["error"])
    assert plain.pop("metadata") in (None, {"undefined": True})
    assert plain == error
    with_metadata = {"error": {**error, "metadata": METADATA_UNDERSTOOD}}
    assert understood["failureWithMetadata"] == with_metadata
