"""The server of the server's tests, for the pages' actors."""

from tests.server.conftest import start

__all__ = ["start"]
