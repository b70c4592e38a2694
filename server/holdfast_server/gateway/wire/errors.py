"""The one error of this package: what a client sent is not what the wire says."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes or text of a client that cannot be taken.

    `field` is the part that is wrong ("body.val.name", "rvt-key"), empty for the whole;
    `offset` the byte where, `limit` the limit that was reached, each None where there is
    none. `code` is the client's word for it in the group "guard" where it has one
    ("query_duplicate_param"), else empty.
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str = "",
        offset: int | None = None,
        limit: int | None = None,
        code: str = "",
    ) -> None:
        super().__init__(problem, field, offset, limit, code)
        self.problem = problem
        self.field = field
        self.offset = offset
        self.limit = limit
        self.code = code

    def __str__(self) -> str:
        text = f"{self.field}: {self.problem}" if self.field else self.problem
        return text if self.offset is None else f"{text} (byte {self.offset})"


__all__ = ["WireError"]
