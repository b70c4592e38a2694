"""Actors whose events have types of every kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel

from holdfast import Actor, Context, Event, action, setup


@dataclass
class Place:
    """A dataclass in a dataclass."""

    x: int
    y: int


@dataclass
class Move:
    """A dataclass."""

    who: str
    to: Place
    at: datetime | None = None
    tags: list[str] = field(default_factory=list)


class Price(msgspec.Struct):
    """A msgspec Struct."""

    symbol: str
    cents: int


class Profile(BaseModel):
    """A pydantic model."""

    name: str
    age: int = 0


class Feed(Actor):
    """Emits whatever it is asked to."""

    emits = {
        "moved": Event(Move, int),
        "price": Event(Price, ephemeral=True),
        "profile": Event(Profile),
        "prices": Event(dict[str, Price]),
        "pinged": Event(),
    }

    @action
    async def emit(self, c: Context, name: str, *args: Any) -> None:
        """An event."""
        c.broadcast(name, *args)

    @action
    async def send(self, c: Context, name: str, *args: Any) -> None:
        """A message to the caller's connection."""
        assert c.conn is not None
        c.conn.send(name, *args)


class NewerFeed(Feed):
    """What a client of another version believes that the feed emits."""

    emits = {"moved": Event(Move), "profile": Event(int), "pinged": Event()}


registry = setup(use={"feed": Feed})

__all__ = ["Feed", "Move", "NewerFeed", "Place", "Price", "Profile", "registry"]
