"""Builds the page of an example: what is in its folder `web`, a project of npm
whose script `build` makes a folder, `--outDir`.

    python -m examples.pages            # all of them
    python -m examples.pages chat_react

The packages that `web` locks and the page are below build/pages, and made anew only when
something in `web` has changed. An example that has a page builds it when it starts; that takes
Node 20.19 or newer with npm, and the first time a minute.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

EXAMPLES: Final = Path(__file__).resolve().parent
BUILD: Final = EXAMPLES.parent / "build" / "pages"
LOCKED: Final = ("package.json", "package-lock.json")


class CannotBuild(Exception):
    """There is no npm, or it failed; the message says which."""


def build(example: str) -> Path:
    """The folder with the built page of an example; CannotBuild if it cannot be had."""
    web, target = EXAMPLES / example / "web", BUILD / example
    sources = [path for path in web.rglob("*") if path.is_file() and is_ours(path, web)]
    page = target / f"page-{checksum(sources, web)}"
    if page.exists():
        return page
    install(web, target)
    # In a folder of its own below the packages: two that build at once do not meet.
    with tempfile.TemporaryDirectory(dir=target, prefix="building-") as name:
        building = Path(name)
        for path in sources:
            copy = building / path.relative_to(web)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        npm("run", "build", "--", "--outDir", "dist", directory=building)
        if not page.exists():
            (building / "dist").rename(page)
    return page


def is_ours(path: Path, web: Path) -> bool:
    """Whether a file in `web` is a source: no package, no page that was built by hand."""
    return not {"node_modules", "dist"} & set(path.relative_to(web).parts)


def install(web: Path, target: Path) -> None:
    """Install the packages that `web` locks, unless they are there."""
    stamp, wanted = target / "stamp", checksum([web / name for name in LOCKED], web)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    target.mkdir(parents=True, exist_ok=True)
    for name in LOCKED:
        shutil.copyfile(web / name, target / name)
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", directory=target)
    stamp.write_text(wanted)


def npm(*arguments: str, directory: Path) -> None:
    """Run npm; it shows its output only if it fails."""
    program = shutil.which("npm")
    if program is None:
        raise CannotBuild("the page of this example is built by npm, which is not installed")
    done = subprocess.run(
        [program, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotBuild(f"npm {arguments[0]} failed\n{done.stdout}{done.stderr}")


def checksum(paths: list[Path], root: Path) -> str:
    """A short checksum of files: of their names and what is in them."""
    found = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


def main(examples: list[str]) -> None:
    """Build the pages of some examples, or of all that have one."""
    having = sorted(path.parent.name for path in EXAMPLES.glob("*/web"))
    for example in examples or having:
        print(build(example))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotBuild as error:
        sys.exit(str(error))
