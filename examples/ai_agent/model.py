"""What the agent thinks with: the interface of a language model, and one that runs offline.

`load_model` is the place to put a real one: return anything whose `reply` yields the same
parts, such as a few lines around the streaming call of your provider's library. The
actor does not change.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["user", "assistant", "tool"]


@dataclass
class Message:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass
class Token:
    """A piece of the answer."""

    text: str


@dataclass
class ToolCall:
    """The model wants a tool to run before it goes on."""

    name: str
    argument: str


class Model(Protocol):
    """A language model."""

    def reply(self, messages: Sequence[Message]) -> AsyncIterator[Token | ToolCall]:
        """What comes after `messages`: tokens, or tool calls, whose results come back
        as messages of the role `tool` in the next call."""
        ...


# So that one sees an answer grow.
TOKEN_S = float(os.environ.get("TOKEN_S", "0.02"))
_SUM = re.compile(r"\d[\d\s.+*/()-]*[+*/-][\d\s.+*/()-]*\d")
_REMEMBER = re.compile(r"remember(?: that)?[: ]+(.+)", re.IGNORECASE)
_RECALL = re.compile(r"what do you (?:know|remember)", re.IGNORECASE)


class FakeModel:
    """A model of a few rules: it calculates, remembers and repeats."""

    async def reply(self, messages: Sequence[Message]) -> AsyncIterator[Token | ToolCall]:
        """See Model."""
        last = messages[-1]
        call = None if last.role == "tool" else self._tool_for(last.text)
        if call is not None:
            yield call
            return
        for token in re.findall(r"\S+\s*", self._answer(last)):
            # A real model takes its time for each token; others use the loop meanwhile.
            await asyncio.sleep(TOKEN_S)
            yield Token(token)

    def _tool_for(self, prompt: str) -> ToolCall | None:
        if found := _SUM.search(prompt):
            return ToolCall("calculate", found[0].strip())
        if found := _REMEMBER.search(prompt):
            return ToolCall("remember", found[1].strip(" ."))
        if _RECALL.search(prompt):
            return ToolCall("recall", "")
        return None

    def _answer(self, last: Message) -> str:
        if last.role == "tool":
            return last.text
        return f"You said: {last.text!r}. I can calculate, remember and recall."


def load_model() -> Model:
    """The model of this application: put a real one here."""
    return FakeModel()
