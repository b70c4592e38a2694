"""Fixtures of a test harness, found by pytest through the entry point `pytest11`.

They are plain fixtures, so that they work under pytest-asyncio, under anyio and in tests
that are plain functions, and need none of them: a harness starts when it is first used,
on the loop that runs then, and ends with the test. Plain tests get the blocking harness.

Every run of pytest imports this module, also those that have nothing to do with Holdfast:
it imports the harness only where one is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

_FAILED = pytest.StashKey[bool]()
_RUNNERS = ("asyncio", "anyio")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note a failure, beside which a fault that was not hit is no news."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture
def holdfast_registry() -> Any:
    """The registry under test; override it."""
    pytest.fail(
        "the fixtures of Holdfast need your registry: define a fixture `holdfast_registry` that "
        "returns what `setup(use={...})` gave, in this module or in conftest.py",
        pytrace=False,
    )


@pytest.fixture
def holdfast_options() -> dict[str, Any]:
    """Arguments of `holdfast.testing.harness` for every harness of a test; override it."""
    return {}


@pytest.fixture
def holdfast_harness(
    request: pytest.FixtureRequest, holdfast_options: dict[str, Any]
) -> Iterator[Callable[..., Any]]:
    """Makes harnesses, of `holdfast_registry` or of the registry that is given.

    Those that the test does not end itself end with it. A coroutine gets a `Harness`, a
    plain function a `BlockingHarness`.
    """
    blocking = not inspect.iscoroutinefunction(request.function)
    plugins = request.config.pluginmanager
    if not blocking and not any(plugins.hasplugin(name) for name in _RUNNERS):
        pytest.fail(
            "an async test needs pytest-asyncio or anyio, and neither is installed; a plain "
            "function needs none: there the fixtures block",
            pytrace=False,
        )
    made: list[Any] = []

    def make(registry: Any = None, **options: Any) -> Any:
        from holdfast.testing import BlockingHarness, Harness

        if registry is None:
            registry = request.getfixturevalue("holdfast_registry")
        kind = BlockingHarness if blocking else Harness
        made.append(kind(registry, **{**holdfast_options, **options}))
        return made[-1]

    yield make
    check = not request.node.stash.get(_FAILED, False)
    _end(made, check)


@pytest.fixture
def holdfast_test(holdfast_harness: Callable[..., Any]) -> Any:
    """The harness of `holdfast_client` and `holdfast_clock`."""
    return holdfast_harness()


@pytest.fixture
def holdfast_client(holdfast_test: Any) -> Any:
    """A client of the server under test; blocking in a plain function."""
    return holdfast_test.client


@pytest.fixture
def holdfast_clock(holdfast_test: Any) -> Any:
    """The harness as the clock that it is: `advance`, `advance_to`, `settle`, `now`."""
    return holdfast_test


def _end(made: list[Any], check: bool) -> None:
    """End the harnesses, the last one first; then raise what the first failure was."""
    from holdfast.testing import FaultNotHitError

    failures: list[Exception] = []
    for harness in reversed(made):
        try:
            harness.end_from_outside(check=check)
        except Exception as error:
            failures.append(error)
    for failure in failures:
        if isinstance(failure, FaultNotHitError):
            pytest.fail(str(failure), pytrace=False)
        raise failure
