"""Finds the registry that a command names: `MODULE`, `MODULE:NAME`, `FILE.py` or `FILE.py:NAME`.

Without a NAME it is `registry`, or else the one Registry of the module. What is
wrong with the application is an AppError, which shows where in the user's own
files an exception came from and nothing of ours.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

import holdfast_server
from holdfast import registry
from holdfast.registry import Registry
from holdfast_server.process.failures import AppError

_FRAMES_MAX: Final = 8
_OURS: Final = (
    *(
        f"{Path(each).parent}{os.sep}"
        for each in (holdfast_server.__file__, registry.__file__, os.__file__)
    ),
    "<frozen ",
)

# Whether an application is being imported, so that `registry.serve()` outside
# its `if __name__ == "__main__":` can be refused.
importing = False


def load_registry(name: str) -> Registry:
    """The registry that `name` says."""
    return registry_of(*_imported(name))


def _imported(name: str) -> tuple[ModuleType, str]:
    where, _, attribute = name.partition(":")
    if not where or name.endswith(":"):
        raise AppError(f"{name!r} names no registry; write MODULE:NAME, like app:registry")
    if where.endswith(".py") or os.sep in where:
        root, module = _module_of(Path(where))
    else:
        root, module = os.getcwd(), where
    # The application's modules come first, as for `python app.py`.
    if root not in sys.path:
        sys.path.insert(0, root)
    return _import(module, where), attribute


def _module_of(path: Path) -> tuple[str, str]:
    """Where to import a file from, and its dotted name within its packages."""
    if not path.is_file():
        raise AppError(f"there is no file {path}")
    path = path.resolve()
    parts, directory = [path.stem], path.parent
    while (directory / "__init__.py").is_file():
        parts.insert(0, directory.name)
        directory = directory.parent
    if not all(part.isidentifier() for part in parts):
        raise AppError(f"{path.name} cannot be imported: its name is no Python name")
    return str(directory), ".".join(parts)


def _import(module: str, shown: str) -> ModuleType:
    global importing
    importing = True
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise AppError(
                f"cannot import {shown}: there is no module {error.name!r} in {os.getcwd()} "
                "or on the Python path"
            ) from None
        raise AppError(_explained(shown, error)) from None
    except AppError:
        raise
    except (Exception, SystemExit) as error:
        raise AppError(_explained(shown, error)) from None
    finally:
        importing = False


def _explained(shown: str, error: BaseException) -> str:
    """The exception and the user's own lines that led to it."""
    what = "".join(traceback.format_exception_only(error)).rstrip()
    lines = [
        f"  {frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line or ''}".rstrip()
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OURS) or "site-packages" in frame.filename
    ]
    return "\n".join([f"cannot import {shown}", *lines[-_FRAMES_MAX:], what])


def registry_of(module: ModuleType, attribute: str) -> Registry:
    """The registry in a module; with no name given, `registry` or the only one."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Registry)}
    shown = getattr(module, "__name__", "the module")
    hint = f"; it has {', '.join(sorted(found))}" if found else ""
    if attribute:
        value = vars(module).get(attribute, _missing)
        if value is _missing:
            raise AppError(f"{shown} has no {attribute!r}{hint}")
        if not isinstance(value, Registry):
            raise AppError(
                f"{shown}:{attribute} is a {type(value).__name__} and not a Registry, "
                f"which `setup(use={{...}})` makes{hint}"
            )
        return value
    if "registry" in found:
        return found["registry"]
    distinct = {id(value): value for value in found.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not found:
        raise AppError(f"{shown} has no registry; make one with `setup(use={{...}})`")
    raise AppError(f"{shown} has several registries: {', '.join(sorted(found))}; name one")


_missing = object()
