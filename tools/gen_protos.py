"""Generates the Python code of the protos, and checks the committed code for drift.

What lies beside the protos as JSON, the gRPC service config, is copied as it is: the
SDK reads its retry policy from there. The comments of services go into a file of their own,
for `openapi.json`.

`python -m tools.gen_protos` writes; `--check` regenerates into a temporary
directory and exits with 1, naming each file that is missing, surplus or differs.

The generator is grpcio-tools 1.76.0, pinned: generated code refuses runtimes older
than its generator, so a newer one would raise the floors of `grpcio` and `protobuf`.
An output directory holds generated files only; what is no longer generated is removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tools.proto_comments import comments_of

ROOT: Final = Path(__file__).resolve().parent.parent
PROTO: Final = ROOT / "proto"
GENERATOR_VERSION: Final = "1.76.0"
COMMENTS: Final = "comments.json"
INIT: Final = '"""Generated from the protos by tools/gen_protos.py; do not edit."""\n'


@dataclass(frozen=True)
class Package:
    """A proto directory and the source root that its code belongs to."""

    directory: str
    source_root: str


PACKAGES: Final = (
    Package("holdfast/v1", "python_sdk"),
    Package("holdfast_server/store/v1", "server"),
)


def generate(package: Package, out: Path) -> None:
    """Generates one package below the source root `out`."""
    protos = sorted((PROTO / package.directory).glob("*.proto"))
    if not protos:
        raise SystemExit(f"no protos in proto/{package.directory}")
    out.mkdir(parents=True, exist_ok=True)
    _protoc(protos, [f"--python_out={out}", f"--mypy_out=quiet:{out}"])
    # grpc would write an empty module for a proto without a service.
    services = [proto for proto in protos if "\nservice " in proto.read_text(encoding="utf-8")]
    if services:
        _protoc(services, [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"])
        comments = json.dumps(_comments(protos), ensure_ascii=False, indent=0)
        (out / package.directory / COMMENTS).write_text(comments + "\n", encoding="utf-8")
    for data in sorted((PROTO / package.directory).glob("*.json")):
        shutil.copyfile(data, out / package.directory / data.name)
    (out / package.directory / "__init__.py").write_text(INIT, encoding="utf-8")


def _comments(protos: Sequence[Path]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        described = Path(directory) / "descriptors"
        _protoc(protos, ["--include_source_info", f"--descriptor_set_out={described}"])
        return comments_of(FileDescriptorSet.FromString(described.read_bytes()).file)


def _protoc(protos: Sequence[Path], outputs: Sequence[str]) -> None:
    arguments = [
        "protoc",
        f"-I{PROTO}",
        f"-I{resources.files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={_plugin('protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_plugin('protoc-gen-mypy_grpc')}",
        *outputs,
        *map(str, protos),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit(f"protoc failed for {', '.join(proto.name for proto in protos)}")


def write() -> None:
    """Replaces the committed code of every package."""
    for package in PACKAGES:
        source_root = ROOT / package.source_root
        shutil.rmtree(source_root / package.directory, ignore_errors=True)
        generate(package, source_root)


def drift() -> list[str]:
    """The committed files that differ from what the generator gives, sorted."""
    different: list[str] = []
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as directory:
            fresh_root = Path(directory)
            generate(package, fresh_root)
            fresh = _contents(fresh_root / package.directory)
        target = ROOT / package.source_root / package.directory
        committed = _contents(target)
        names = sorted(
            name
            for name in fresh.keys() | committed.keys()
            if fresh.get(name) != committed.get(name)
        )
        different += [str((target / name).relative_to(ROOT)) for name in names]
    return different


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _plugin(name: str) -> str:
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: run `make setup`")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the protos.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    options = parser.parse_args(arguments)
    installed = metadata.version("grpcio-tools")
    if installed != GENERATOR_VERSION:
        raise SystemExit(f"grpcio-tools {GENERATOR_VERSION} is needed, {installed} is installed")
    if not options.check:
        write()
        return 0
    different = drift()
    for name in different:
        print(f"{name}: differs from its proto; run `make gen`", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
