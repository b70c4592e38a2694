"""Whatever these clients send again by themselves is told only while nothing has run."""

from __future__ import annotations

import itertools

import aiohttp
import pytest

from holdfast_server.core.errors import CATALOGUE, USER_ERROR, HoldfastError, Reason
from holdfast_server.gateway.failures import RAN_GROUP, failure_of
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from tests.gateway.browser import Browser, get_only
from tests.gateway.conftest import Start
from tests.server.stage import Stage

# By group and code, as the clients have them: those of version 2.3.19.
RETRIED = {
    *(f"actor.{code}" for code in ("not_found", "starting", "stopping", "not_configured")),
    *(f"actor.{code}" for code in ("dropped_reply", "destroying", "restarting", "stopped")),
    *(f"actor.destroyed_{what}" for what in ("during_start", "while_waiting_for_ready")),
    *(f"guard.{code}" for code in ("service_unavailable", "actor_wake_retries_exceeded")),
    *(f"guard.{code}" for code in ("actor_ready_timeout", "actor_runner_failed")),
    *(f"guard.{code}" for code in ("actor_stopped_while_waiting", "tunnel_request_aborted")),
    "guard.gateway_response_start_timeout",
    "ws.going_away",
}
# Browsers and proxies repeat requests that were answered so.
REPEATED = {408, 425, 429, 502, 503}


@pytest.mark.parametrize("reason", CATALOGUE.values(), ids=lambda reason: reason.reason)
def test_of_a_turn_that_began_nothing_is_told_that_clients_retry(reason: Reason) -> None:
    error = HoldfastError(reason)
    error.ran = True

    failure = failure_of(error)

    assert f"{failure.group}.{failure.code}" not in RETRIED
    assert failure.status not in REPEATED
    assert failure.retry_after_s is None
    assert not failure.retried


@pytest.mark.parametrize("pair", sorted(RETRIED))
def test_an_error_that_an_actor_made_up_is_not_retried_either(pair: str) -> None:
    group, code = pair.split(".")
    # A user's code is of the group "user", whatever it is; a callee's error has its own.
    assert failure_of(HoldfastError(USER_ERROR, code=code)).group == "user"
    error = HoldfastError(Reason("X", group, code, "NOT_FOUND", "x"))
    error.ran = True
    assert failure_of(error).group == RAN_GROUP


def test_no_outcome_that_is_unknown_is_retried() -> None:
    for reason, ran in itertools.product([CATALOGUE["COMMIT_UNKNOWN"]], (True, False)):
        error = HoldfastError(reason)
        error.ran = ran
        failure = failure_of(error)
        assert (failure.status, failure.retry_after_s) == (500, None)
        assert f"{failure.group}.{failure.code}" == "store.commit_unknown"


@pytest.mark.parametrize("name", ["ACTOR_OVERLOADED", "ACTOR_STOPPING", "SERVER_OVERLOADED"])
def test_an_opening_that_would_pass_is_told_to_come_again(name: str) -> None:
    """Clients give a connection up for good when its opening fails with any other code."""
    error = HoldfastError(CATALOGUE[name])

    failure = failure_of(error, opening=True)
    error.ran = True
    after = failure_of(error, opening=True)

    assert f"{failure.group}.{failure.code}" == "guard.service_unavailable"
    assert f"{after.group}.{after.code}" not in RETRIED


async def test_a_missing_actor_is_told_so_only_by_the_one_that_was_called(
    browser: Browser, stage: Stage
) -> None:
    path = f"/gateway/counter/action/value?{get_only('is missing')}"
    assert (await browser.ask("POST", path)).error == "actor.not_found"

    answer = await browser.act("counter", "a", "ask_missing")

    assert (answer.status, answer.error) == (404, "callee.not_found")
    assert stage.log == ["asked"]


async def test_a_missing_actor_that_creation_asks_for_is_not_the_one_that_was_called(
    browser: Browser, stage: Stage
) -> None:
    answer = await browser.act("needy", "a", "nothing")

    assert answer.error == "callee.not_found"
    assert stage.log == ["asked"]


async def test_a_failed_commit_is_told_as_what_it_is(
    start: Start, session: aiohttp.ClientSession
) -> None:
    store = FaultyStore(MemoryStore())
    browser = Browser(session, await start(store=store))
    await browser.result("counter", "a", "increment")

    store.fail_next("sync", applied=False)
    answer = await browser.act("counter", "a", "increment")

    assert (answer.status, answer.error) == (500, "store.commit_unknown")
    assert "retry-after" not in answer.headers
