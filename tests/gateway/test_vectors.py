"""The committed vectors are what the real clients send, and understand of what we send."""

import pytest

from tests.gateway import vectors
from tests.gateway.clients import need_clients


@pytest.fixture(autouse=True)
def _clients() -> None:
    need_clients()


def test_clients_send_what_is_committed() -> None:
    assert vectors.make_sent() == vectors.load("sent")


def test_clients_understand_what_is_committed() -> None:
    assert vectors.make_read() == vectors.load("read")
