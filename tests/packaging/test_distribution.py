"""What is in the wheel and the source distribution, and what an installation of them can do."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

from tests.packaging.conftest import Install, Uv
from tests.server_process import ROOT, environment

SOURCE_ROOTS = ("python_sdk/holdfast", "server/holdfast_server")
EXTRAS = ("rocksdict", "grpc_health", "cbor2", "prometheus_client", "uvloop", "typer", "rich")

IMPORT_EVERYTHING = """
import importlib.util
import holdfast, holdfast.blocking
from holdfast import Actor, ActorError, Client, Context, UserError, action, setup

class Counter(Actor[int]):
    state = 0

    @action
    async def increment(self, c: Context[int], by: int = 1) -> int: ...

setup(use={"counter": Counter})
holdfast.blocking.Client("127.0.0.1:1").close()
print([name for name in %r if importlib.util.find_spec(name)])
"""

# Every file of every distribution, told by its path, and who owns it.
OWNERS = """
import importlib.metadata, json
rows = []
for found in importlib.metadata.distributions():
    for file in found.files or ():
        if "__pycache__" not in file.parts and "..." not in file.parts:
            rows.append([str(file), found.metadata["Name"]])
print(json.dumps(rows))
"""


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def source_files() -> dict[str, Path]:
    """The files of the import packages, by their names in a wheel."""
    found = {}
    for root in SOURCE_ROOTS:
        directory = ROOT / root
        for path in directory.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[path.relative_to(directory.parent).as_posix()] = path
    return found


def python(directory: Path, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(directory / "bin" / "python"), "-c", code],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_is_the_two_packages_and_nothing_else(wheel: Path) -> None:
    files = wheel_files(wheel)

    assert files == set(source_files())
    assert "holdfast/py.typed" in files
    assert "holdfast/v1/actor_service_pb2_grpc.py" in files
    assert "holdfast_server/store/v1/records_pb2.py" in files
    shipped = ("holdfast/testing/", "holdfast_server/testing/", "holdfast/_pytest.py")
    assert not [name for name in files if "test" in name and not name.startswith(shipped)]


def test_the_source_distribution_builds_the_same_wheel(
    uv: Uv, sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"proto/holdfast/v1/payload.proto", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "examples/"))]

    uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(sdist))

    (again,) = tmp_path.glob("*.whl")
    assert wheel_files(again) == wheel_files(wheel)


def test_the_metadata_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        assert [n for n in archive.namelist() if n.endswith("/licenses/LICENSE")]

    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    for extra in ("server", "cli", "http", "otel", "pydantic"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


def test_without_extras_there_are_actors_and_clients_only(install: Install, tmp_path: Path) -> None:
    bare = install("")

    done = python(bare, IMPORT_EVERYTHING % (EXTRAS,), tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    command = subprocess.run(
        [bare / "bin" / "holdfast"], capture_output=True, text=True, check=False
    )
    assert command.returncode == 2
    assert "pip install 'holdfast[cli]'" in command.stderr


USE_THE_HARNESS = """
import importlib.metadata
from holdfast import Actor, Context, action, setup
from holdfast.testing import blocking_harness

class Counter(Actor[int]):
    state = 0

    @action
    async def increment(self, c: Context[int], by: int = 1) -> int:
        c.state += by
        return c.state

print([point.value for point in importlib.metadata.entry_points(group="pytest11", name="holdfast")])
try:
    with blocking_harness(setup(use={"counter": Counter}), store="rocksdb") as h:
        h.client.get_or_create(Counter, ["a"]).increment()
        h.crash()
        h.advance(days=1)
        print(h.client.get_or_create(Counter, ["a"]).increment())
except Exception as error:
    print(error)
"""


def test_the_harness_works_from_the_wheel(install: Install, tmp_path: Path) -> None:
    done = python(install("[server]"), USE_THE_HARNESS, tmp_path)

    assert (done.stdout, done.stderr) == ("['holdfast._pytest']\n2\n", "")


def test_the_harness_says_what_is_missing_without_the_server(
    install: Install, tmp_path: Path
) -> None:
    done = python(install(""), USE_THE_HARNESS, tmp_path)

    assert "the server is not installed (" in done.stdout
    assert "pip install 'holdfast[server]'" in done.stdout


def test_no_file_is_owned_by_two_wheels(install: Install, tmp_path: Path) -> None:
    done = python(install("[server,cli,otel,pydantic]"), OWNERS, tmp_path)
    rows = json.loads(done.stdout)
    assert len(rows) > 1000

    count = Counter(file for file, _ in rows)

    shared = {file for file, owners in count.items() if owners > 1}
    assert sorted((file, owner) for file, owner in rows if file in shared) == []
