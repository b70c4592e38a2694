"""Finds call cycles: who waits for whom, followed when a call is about to wait.

A turn that calls an actor waits for the turns that hold that actor. If one of
those, directly or through further calls, waits for the caller, neither can ever
go on: the call that closes the circle fails at once, with the chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Holder(Protocol):
    """A running turn: what it is called in the chain, and what it waits for."""

    @property
    def label(self) -> str: ...

    def waits_for(self) -> Iterable[Holder]:
        """The running turns that this one's outgoing calls wait behind."""
        ...


def find_cycle(caller: Holder, target_label: str, holders: Iterable[Holder]) -> list[str] | None:
    """The chain of labels from `caller` back to it, if its call would close one."""
    stack: list[tuple[Holder, list[str]]] = [
        (holder, [caller.label, target_label]) for holder in holders
    ]
    seen: set[int] = set()
    while stack:
        holder, chain = stack.pop()
        if holder is caller:
            return chain
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        stack.extend((following, [*chain, following.label]) for following in holder.waits_for())
    return None
