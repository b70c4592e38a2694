"""Handles as values: equality, hashes, copies, what they show and what they refuse."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from holdfast import Client, HoldfastError, blocking
from holdfast._handle import ActorHandle
from holdfast.actor import Actor
from holdfast.client import BaseClient
from tests.unit.sdk.fake_server import Geometry, Point, running


async def test_handles_are_equal_when_they_name_the_same_actor_in_the_same_way() -> None:
    async with running() as (_, client):
        one = client.get("geometry", ["a"])
        assert one == client.get_or_create("geometry", "a", input=1)
        assert one == one.with_options(timeout=1.0)
        assert client.get(Geometry, "a") == one
        assert len({one, client.get("geometry", "a"), client.get("geometry", "b")}) == 2
        assert one != client.get("other", "a")
        assert one != client.get_for_id("geometry", "A1")
        assert client.get_for_id("geometry", "A1") == client.get_for_id(Geometry, "A1")
        assert one != "geometry"
        async with Client("127.0.0.1:1") as other:
            assert one != other.get("geometry", "a")


def test_blocking_handles_are_equal_likewise() -> None:
    with blocking.Client("127.0.0.1:1") as client:
        one = client.get("geometry", "a")
        assert one == client.get("geometry", ["a"])
        assert {one: 1}[client.get("geometry", "a")] == 1
        assert one != client.get("geometry", "b")
        assert one != client._client.get("geometry", "a")
        assert copy.copy(one) is one
        assert copy.deepcopy([one])[0] is one
        with pytest.raises(TypeError, match="a handle is not pickled"):
            pickle.dumps(one)
        with pytest.raises(TypeError, match="a client is not pickled"):
            pickle.dumps(client)


async def test_handles_are_copied_as_they_are_and_not_pickled() -> None:
    async with running() as (_, client):
        handle = client.get("geometry", "a")
        assert copy.copy(handle) is handle
        assert copy.deepcopy({"h": handle})["h"] is handle
        with pytest.raises(TypeError, match="pass on the actor's name and key"):
            pickle.dumps(handle)
        with pytest.raises(TypeError, match="a client is not pickled"):
            pickle.dumps(client)


async def test_a_handle_shows_its_actions() -> None:
    async with running() as (_, client):
        handle: Any = client.get(Geometry, "a")
        assert {"mirror", "echo_all", "count", "with_options"} <= set(dir(handle))
        assert handle.echo_all.name == "echoAll"
        assert repr(handle) == "<actor geometry ['a']>"
        assert repr(handle.echo_all) == "<action 'echoAll' of <actor geometry ['a']>>"
        assert repr(client.get_for_id(Geometry, "A1")) == "<actor A1>"
        with pytest.raises(HoldfastError, match="inline runs an action of `self`"):
            await handle.mirror.inline(None, Point(1, 2))


async def test_a_handle_s_options_hold_for_destroying_it() -> None:
    async with running() as (server, client):
        handle = client.get(Geometry, "a").with_options(idempotency_key="k")
        await client.destroy(handle)
        await client.destroy(handle, idempotency_key="other")
        assert [r.idempotency_key for r in server.requests] == ["k", "other"]


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and name != "transport"
    }


def parameters(member: Any) -> list[tuple[str, Any, Any]]:
    listed = inspect.signature(member).parameters.values()
    return [(p.name, p.kind, p.default) for p in listed]


@pytest.mark.parametrize(
    ("plain", "waiting", "more"),
    [
        (Client, blocking.Client, {"address", "namespace", "timeout", "encoding"}),
        (ActorHandle, blocking.Handle, {"call"}),
    ],
)
def test_the_blocking_twin_has_the_same_surface(plain: type, waiting: type, more: set[str]) -> None:
    ours, theirs = public(plain), public(waiting)
    # What is an attribute of one is a property of the other.
    assert set(ours) == set(theirs) - more
    for name, member in ours.items():
        if callable(member):
            assert parameters(member) == parameters(theirs[name]), name
            assert member.__doc__, name
            assert theirs[name].__doc__, name
    if plain is Client:
        assert parameters(plain) == parameters(waiting)


def test_the_client_of_an_actor_has_the_surface_of_every_client() -> None:
    assert set(public(Client)) - set(public(BaseClient)) == {"close", "observe", "renew_token"}


def test_the_members_of_a_handle_are_declared_on_the_actor() -> None:
    for name, member in public(ActorHandle).items():
        declared = getattr(Actor, name)
        assert parameters(declared) == parameters(member), name
