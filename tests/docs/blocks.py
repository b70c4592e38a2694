"""Reads the code blocks and tables of a page, and runs its Python.

A page's plain `python` blocks are one module, in their order. Its `python client`
blocks are what a caller of those actors does: they run in their order, in the
module's namespace, with a connected `client` and with `await` at the top level.
What a line of them prints stands behind it in a comment.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from holdfast import Actor, Registry, setup
from tests.server_process import BIN, ROOT, environment

_FENCE = re.compile(r"^```(?P<info>\w[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^(?P<indent>\s*)print\(.*\)  # (?P<text>.*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    info: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def printed(self) -> list[str]:
        """What the block prints, by the comments of its prints."""
        matches = map(_PRINTED.match, self.text.splitlines())
        return [found["text"] for found in matches if found]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, told by its path from the root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["info"], found["text"])
        for found in _FENCE.finditer(text)
    ]


def block(page: str, first_line: str) -> Block:
    """The only block of a page that begins with a line."""
    (found,) = [each for each in blocks(page) if each.first_line == first_line]
    return found


def tables(page: str) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """The tables of a page: rows by headers; tables of the same headers are one."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    headers: tuple[str, ...] | None = None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            headers = None
            continue
        cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        if headers is None:
            headers = cells
            found.setdefault(headers, [])
        elif not all(set(cell) <= set("-:") for cell in cells):
            found[headers].append(cells)
    return found


def module_of(page: str, directory: Path) -> ModuleType | None:
    """A page's plain Python as a module, in a file of its own below `directory`."""
    plain = [each for each in blocks(page) if each.info == "python"]
    if not plain:
        return None
    name = "page_" + re.sub(r"\W", "_", page)
    path = directory / f"{name}.py"
    path.write_text("\n\n".join(each.text for each in plain), encoding="utf-8")
    return load(name, path)


def load(name: str, path: Path) -> ModuleType:
    """The module of a file; stays in sys.modules, where types are looked up by name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def registry_of(module: ModuleType) -> Registry:
    """Every actor of a module; named as its own registry says, else after its class."""
    own: Registry | None = getattr(module, "registry", None)
    named = {kind.cls: name for name, kind in own.types.items()} if own is not None else {}
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Actor) and value is not Actor
    ]
    return setup(use={named.get(cls, _kebab(cls.__name__)): cls for cls in classes})


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


async def run_client(each: Block, namespace: dict[str, Any]) -> None:
    """Run a client's block, and compare what it prints with what it says it prints."""
    source = "\n" * each.line + each.text
    code: CodeType = compile(
        source, each.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    with printed_to(namespace) as lines:
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            await result
    assert lines == each.printed, f"{each.page}:{each.line}"


async def run_shell(each: Block, port: int) -> str:
    """Run a block of commands against a server on loopback; their output."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-ec", each.text),
        env=environment(PATH=path, HOLDFAST_SERVER=f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{each.page}:{each.line}: {output.decode()}"
    return output.decode()


@contextmanager
def printed_to(namespace: dict[str, Any]) -> Iterator[list[str]]:
    """Collects what `print` prints in a namespace."""
    lines: list[str] = []

    def collect(*values: object) -> None:
        lines.append(" ".join(map(str, values)))

    printing: Callable[..., None] = collect
    namespace["print"] = printing
    try:
        yield lines
    finally:
        del namespace["print"]
