"""The committed vectors are what the real clients send, and understand of what we send."""

from typing import Any

import pytest

from tests.gateway import vectors
from tests.gateway.clients import TAGGED, VERSIONS, need_clients


@pytest.fixture(autouse=True)
def _clients() -> None:
    need_clients()


def committed(part: dict[str, dict[str, list[str]]], version: str) -> dict[str, Any]:
    """What a version sends, case by case."""
    return {
        case: data or None
        for case, variants in part.items()
        for data, versions in variants.items()
        if version in versions
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_sends_what_is_committed(version: str) -> None:
    found, kept = vectors.sent_by(version), vectors.load("sent")
    for encoding in vectors.ENCODINGS:
        for part in ("bodies", "frames"):
            assert found[encoding][part] == committed(kept[encoding][part], version)
    for part in ("inputs", "keys"):
        assert found[part] == committed(kept[part], version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_understands_what_is_committed(version: str) -> None:
    kind = "tagged" if version in TAGGED else "untagged"
    assert vectors.read_by(version) == vectors.load("read")[kind]
