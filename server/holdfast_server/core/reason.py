"""One entry of the catalogue of errors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One entry of the catalogue.

    `retry_after_s` is set for failures of which nothing ran and which pass by
    themselves: the answer then carries RetryInfo.
    """

    reason: str
    group: str
    code: str
    status: str
    message: str
    retry_after_s: float | None = None
