"""The tools of the agent: what it can do besides talking.

A tool gets the context of the turn, so what it changes is committed with the turn. Its
failures are told to the model as text, since it may try something else.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Awaitable, Callable
from typing import Any, Final

from holdfast import Context

NOTES_MAX: Final = 100
SUM_CHARS_MAX: Final = 200
_NOTES = "note/"
_OPERATORS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


async def calculate(c: Context[Any], argument: str) -> str:
    """The value of a sum like "6 * 7"."""
    if len(argument) > SUM_CHARS_MAX:
        return f"I calculate sums of at most {SUM_CHARS_MAX} characters."
    try:
        value = _value(ast.parse(argument.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return f"I cannot calculate {argument}."
    return f"{argument} is {value:.12g}."


def _value(node: ast.expr) -> float:
    # Walked by hand: a model's text must never reach eval.
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return float(_OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError("it is no sum of numbers")


async def remember(c: Context[Any], argument: str) -> str:
    """Keep a note; it outlives the conversation."""
    notes = await c.kv.list(_NOTES)
    if len(notes) >= NOTES_MAX:
        return f"I have {NOTES_MAX} notes already and cannot keep more."
    number = int(str(notes[-1][0]).removeprefix(_NOTES)) + 1 if notes else 1
    await c.kv.put(f"{_NOTES}{number:06}", argument)
    return f"I will remember: {argument}."


async def recall(c: Context[Any], argument: str) -> str:
    """Everything noted."""
    notes = [str(text) for _, text in await c.kv.list(_NOTES)]
    return f"I know this: {'; '.join(notes)}." if notes else "I know nothing yet."


TOOLS: Final[dict[str, Callable[[Context[Any], str], Awaitable[str]]]] = {
    "calculate": calculate,
    "remember": remember,
    "recall": recall,
}
