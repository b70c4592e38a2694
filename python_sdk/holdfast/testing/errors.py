"""What the test harness refuses."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class HarnessError(HoldfastError):
    """The harness is used in a way that cannot work; the message names the remedy."""


class FaultNotHitError(HarnessError, AssertionError):
    """A fault was armed, and nothing that it is for has happened."""


__all__ = ["FaultNotHitError", "HarnessError"]
