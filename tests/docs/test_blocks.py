"""What runs the documentation notices a block that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.blocks import Block, run_client


def block(text: str) -> Block:
    return Block("page.md", 1, "python client", text)


@pytest.mark.parametrize(
    "text",
    [
        "print(1 + 1)  # 2\n",
        "for number in (1, 2):\n    last = number\nprint(last, 'x')  # 2 x\n",
    ],
)
async def test_a_right_block_passes(text: str) -> None:
    await run_client(block(text), {})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("print(1 + 1)  # 3\n", AssertionError),
        ("print(1 + 1)\n", AssertionError),
        ("value = 1  # 1\nprint(value)  # 2\n", AssertionError),
        ("no_such_name\n", NameError),
        ("await await\n", SyntaxError),
    ],
)
async def test_a_wrong_block_fails(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await run_client(block(text), {})


async def test_blocks_share_their_names() -> None:
    namespace: dict[str, Any] = {}

    await run_client(block("value = 1\n"), namespace)
    await run_client(block("print(value)  # 1\n"), namespace)
