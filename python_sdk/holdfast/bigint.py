"""BigInt: an integer that JavaScript's clients get as a `bigint`."""

from __future__ import annotations


class BigInt(int):
    """Marks an integer that must be a `bigint` in JavaScript, whatever its size.

    Other integers arrive there as a `number` up to 2^53 - 1, and as a `bigint` beyond. The
    mark matters to the clients of the gateway only: to everybody else the value is an
    integer. It can be used wherever a value leaves an actor, in results and in events, also
    deep inside of them, and as the annotation of a parameter or a field. Like other
    subclasses of `int` it is lost in arithmetic: `BigInt(1) + 1` is an `int`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"BigInt({int(self)})"

    def __str__(self) -> str:
        return str(int(self))


__all__ = ["BigInt"]
