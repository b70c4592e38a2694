"""Commands and answers in parts."""

from __future__ import annotations

import pytest

from holdfast_server.rpc.session.chunks import Assembler, ChunkedTooLong, ChunksFull, split


def put_together(assembler: Assembler, parts: list[tuple[int, bytes, bool]]) -> dict[int, bytes]:
    done = {}
    for stream, data, last in parts:
        whole = assembler.add(stream, data, last)
        if whole is not None:
            done[stream] = whole
    return done


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10, 11])
def test_parts_are_put_together_again(size: int) -> None:
    data = bytes(range(10))
    parts = list(split(data, size))

    assert all(0 < len(part) <= size for part, _ in parts)
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assembler = Assembler(10, 10)
    assert put_together(assembler, [(1, *part) for part in parts]) == {1: data}
    assert assembler.size == 0


def test_parts_of_streams_may_be_mixed() -> None:
    mixed = [(1, b"a", False), (2, b"x", False), (1, b"b", True), (3, b"", True), (2, b"y", True)]

    assert put_together(Assembler(2, 4), mixed) == {1: b"ab", 2: b"xy", 3: b""}


def test_one_that_is_too_long_is_dropped_and_leaves_the_others() -> None:
    assembler = Assembler(3, 100)
    assembler.add(1, b"abc", False)
    assembler.add(2, b"xy", False)

    with pytest.raises(ChunkedTooLong) as caught:
        assembler.add(1, b"d", False)

    assert caught.value.size == 4
    assert assembler.size == 2
    assert assembler.add(2, b"z", True) == b"xyz"


def test_all_together_have_a_bound() -> None:
    assembler = Assembler(3, 4)
    assembler.add(1, b"abc", False)
    assert assembler.add(2, b"d", True) == b"d"
    assembler.add(3, b"e", False)

    with pytest.raises(ChunksFull):
        assembler.add(4, b"f", False)


def test_what_is_dropped_counts_no_more() -> None:
    assembler = Assembler(3, 3)
    assembler.add(1, b"abc", False)
    assembler.drop(1)
    assembler.drop(2)

    assert assembler.size == 0
    assert assembler.add(1, b"xyz", True) == b"xyz"
