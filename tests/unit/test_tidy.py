"""Habits that no linter checks: sizes, leftovers, and injected clocks and randomness."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("server", "python_sdk")
GENERATED = ("python_sdk/holdfast/v1", "server/holdfast_server/store/v1")
INJECTED = ("server/holdfast_server/core", "server/holdfast_server/runtime")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
LEFTOVERS = ("TODO", "FIXME", "NotImplementedError")
# Their values come from outside, through objects that a test can replace.
UNINJECTABLE = {
    "multiprocessing", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
AMBIENT_ATTRIBUTES = {"os.environ", "os.getenv", "os.urandom", "asyncio.to_thread"}
# Whatever they are called on.
AMBIENT_METHODS = {"run_in_executor", "utcnow", "today", "create_connection", "create_server"}


def modules(*directories: str) -> list[str]:
    """The hand-written modules below the directories, relative to the root."""
    found = (p.relative_to(ROOT).as_posix() for d in directories for p in (ROOT / d).rglob("*.py"))
    return sorted(name for name in found if not name.startswith(tuple(f"{g}/" for g in GENERATED)))


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node except those below `if TYPE_CHECKING:`, which only name types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from run_time_nodes(other)
            continue
        yield child
        yield from run_time_nodes(child)


def ambient_uses(tree: ast.Module) -> list[str]:
    """Imports of clocks, randomness, threads and transports, and uses of the environment."""
    found = []
    for node in run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNINJECTABLE]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {alias.name for alias in node.names}
            if (node.module or "").split(".")[0] in UNINJECTABLE:
                found.append(node.module or "")
            else:
                found += [
                    f"{node.module}.{name}"
                    for name in names
                    if f"{node.module}.{name}" in AMBIENT_ATTRIBUTES
                ]
        elif isinstance(node, ast.Attribute):
            found += ambient_attribute(node)
    return found


def ambient_attribute(node: ast.Attribute) -> list[str]:
    """The attribute, if it reads what should be injected."""
    text = ast.unparse(node)
    wall_clock = node.attr == "now" and text.split(".")[0] in {"datetime", "date"}
    ambient = text in AMBIENT_ATTRIBUTES or node.attr in AMBIENT_METHODS or wall_clock
    return [text] if ambient else []


@pytest.mark.parametrize("module", modules(*SHIPPED, "tools", "bench", "tests"))
def test_modules_and_functions_are_short(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES_MAX, f"{module} has {lines} lines"
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{module}: {node.name} has {length} lines"


@pytest.mark.parametrize("module", modules(*SHIPPED))
def test_no_leftovers(module: str) -> None:
    text = (ROOT / module).read_text(encoding="utf-8")
    assert [word for word in LEFTOVERS if word in text] == []


@pytest.mark.parametrize("module", modules(*INJECTED))
def test_clock_randomness_threads_and_environment_are_injected(module: str) -> None:
    assert ambient_uses(parse(module)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from random import Random",
        "import os\nos.environ['A']",
        "from os import getenv",
        "os.urandom(1)",
        "await asyncio.to_thread(f)",
        "from asyncio import to_thread",
        "loop.run_in_executor(None, f)",
        "datetime.now(UTC)",
        "import socket",
    ],
)
def test_an_ambient_use_is_seen(source: str) -> None:
    assert len(ambient_uses(ast.parse(source))) == 1


def test_an_import_for_types_only_is_allowed() -> None:
    assert ambient_uses(ast.parse("if TYPE_CHECKING:\n    from random import Random")) == []
