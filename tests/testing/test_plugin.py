"""The fixtures, in projects as users have them: pytest runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

APP = """
    from dataclasses import dataclass
    from holdfast import Actor, Context, action, setup

    @dataclass
    class Total:
        n: int = 0

    class Counter(Actor[Total]):
        state = Total

        @action
        async def add(self, c: Context, count: int = 1) -> int:
            c.state.n += count
            return c.state.n

        @action
        async def day(self, c: Context) -> int:
            return c.now().day

    registry = setup(use={"counter": Counter})
"""
CONFTEST = """
    import pytest
    from app import registry

    @pytest.fixture
    def holdfast_registry():
        return registry
"""
ASYNC_TESTS = """
    import pytest
    from datetime import timedelta
    from app import Counter, registry
    {mark}

    async def test_client_and_clock(holdfast_client, holdfast_clock):
        counter = holdfast_client.get_or_create(Counter, ["a"])
        assert await counter.add(2) == 2
        assert await counter.day() == 1
        before = holdfast_clock.now()
        await holdfast_clock.advance(days=30)
        assert await counter.day() == 31
        assert holdfast_clock.now() - before == timedelta(days=30)

    async def test_nothing_stays_from_the_test_before(holdfast_client):
        assert await holdfast_client.get_or_create(Counter, ["a"]).add() == 1

    async def test_the_harness_of_both(holdfast_test, holdfast_client):
        counter = holdfast_client.get_or_create(Counter, ["a"])
        with holdfast_test.faults.crash_after_commit():
            assert await counter.add() == 1

    async def test_the_factory(holdfast_harness):
        async with holdfast_harness(store="rocksdb", seed=4) as h:
            assert await h.client.get_or_create(Counter, ["a"]).add() == 1
        one, two = holdfast_harness(), holdfast_harness(registry)
        for h in (one, two):
            assert await h.client.get_or_create(Counter, ["a"]).add() == 1

    {fixture}
    async def seven(holdfast_client):
        counter = holdfast_client.get_or_create(Counter, ["seven"])
        await counter.add(6)
        yield counter
        assert await counter.add() == 8

    async def test_fixtures_of_ones_own_may_use_it(seven):
        assert await seven.add() == 7

    async def test_it_is_not_used(holdfast_client):
        pass
"""
PLAIN_TESTS = """
    from app import Counter

    def test_plain_functions_block(holdfast_client, holdfast_clock, holdfast_test):
        counter = holdfast_client.get_or_create(Counter, ["a"])
        assert counter.add(2) == 2
        holdfast_clock.advance(days=30)
        assert counter.day() == 31
        holdfast_test.crash()
        assert counter.add() == 3
"""
ASYNCIO = {
    "strict": {
        "mark": "import pytest_asyncio\npytestmark = pytest.mark.asyncio",
        "fixture": "@pytest_asyncio.fixture",
    },
    "auto": {"mark": "", "fixture": "@pytest.fixture"},
}


def run(folder: Path, *arguments: str, files: dict[str, str]) -> tuple[int, str]:
    """Run pytest on these files; its exit code and what it says."""
    for name, text in files.items():
        (folder / name).write_text(dedent(text), encoding="utf-8")
    scope = "asyncio_default_fixture_loop_scope"
    if "no:asyncio" not in arguments and not any(scope in each for each in arguments):
        # Unset, pytest-asyncio warns.
        arguments += ("-o", f"{scope}=function")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("mode", ASYNCIO)
def test_under_pytest_asyncio(mode: str, tmp_path: Path) -> None:
    files = {"app.py": APP, "conftest.py": CONFTEST, "test_plain.py": PLAIN_TESTS}
    files["test_app.py"] = dedent(ASYNC_TESTS).format(**ASYNCIO[mode])

    code, output = run(tmp_path, f"--asyncio-mode={mode}", "-p", "no:anyio", files=files)

    assert (code, "7 passed" in output) == (0, True), output


def test_under_a_loop_of_the_whole_module(tmp_path: Path) -> None:
    files = {"app.py": APP, "conftest.py": CONFTEST, "test_plain.py": PLAIN_TESTS}
    files["test_app.py"] = dedent(ASYNC_TESTS).format(
        mark="pytestmark = pytest.mark.asyncio(loop_scope='module')", fixture="@pytest.fixture"
    )
    arguments = ["--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=module"]

    code, output = run(tmp_path, *arguments, "-p", "no:anyio", files=files)

    assert (code, "7 passed" in output) == (0, True), output


def test_under_anyio(tmp_path: Path) -> None:
    files = {"app.py": APP, "conftest.py": CONFTEST, "test_plain.py": PLAIN_TESTS}
    mark = """
        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
    """
    files["test_app.py"] = dedent(ASYNC_TESTS).format(mark=dedent(mark), fixture="@pytest.fixture")

    code, output = run(tmp_path, "-p", "no:asyncio", files=files)

    assert (code, "7 passed" in output) == (0, True), output


def test_a_fault_that_never_happened_fails_the_test(tmp_path: Path) -> None:
    tests = """
        async def test_a(holdfast_test, holdfast_client):
            await holdfast_client.get_or_create("counter", ["a"]).add()
            holdfast_test.faults.drop_reply(action="ad")

        async def test_b(holdfast_test):
            holdfast_test.faults.drop_reply(action="ad")
            assert 1 == 2

        def test_c(holdfast_test, holdfast_client):
            holdfast_test.faults.drop_reply(action="ad")
    """
    files = {"app.py": APP, "conftest.py": CONFTEST, "test_app.py": tests}

    code, output = run(tmp_path, "--asyncio-mode=auto", files=files)

    assert code == 1
    assert "1 failed, 2 passed, 2 errors" in output, output
    assert "the fault drop_reply(action='ad'), armed at" in output
    assert "test_app.py:4" in output


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    tests = """
        async def test_a(holdfast_client):
            pass
    """
    files = {"app.py": APP, "test_app.py": tests}

    code, output = run(tmp_path, "-p", "no:asyncio", "-p", "no:anyio", files=files)
    assert code == 1
    assert "an async test needs pytest-asyncio or anyio" in output, output

    code, output = run(tmp_path, "--asyncio-mode=auto", files=files)
    assert code == 1
    assert "define a fixture `holdfast_registry`" in output, output


def test_options_for_all_tests(tmp_path: Path) -> None:
    conftest = dedent(CONFTEST) + dedent("""
        from datetime import UTC, datetime

        @pytest.fixture
        def holdfast_options():
            return {"store": "rocksdb", "start": datetime(2030, 5, 5, tzinfo=UTC)}
    """)
    tests = """
        from app import Counter

        def test_a(holdfast_client, holdfast_clock):
            assert holdfast_client.get_or_create(Counter, []).day() == 5
            assert holdfast_clock.now().year == 2030
    """
    files = {"app.py": APP, "conftest.py": conftest, "test_app.py": tests}

    code, output = run(tmp_path, files=files)

    assert code == 0, output


def test_a_run_without_holdfast_imports_no_server(tmp_path: Path) -> None:
    tests = """
        import sys

        def test_a():
            assert "holdfast._pytest" in sys.modules
            for name in ("holdfast_server", "holdfast.testing", "grpc", "rocksdict"):
                assert name not in sys.modules, name
    """
    code, output = run(tmp_path, files={"test_app.py": tests})

    assert code == 0, output
