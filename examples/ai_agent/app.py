"""An AI agent for each user: it streams its answers, uses tools, and remembers.

Serve it with `python -m examples.ai_agent.app`, then run `python -m examples.ai_agent.client`.
It runs offline, with a model of a few rules; `model.py` has the place for a real one.

`ask` is a streaming action: its turn ends at each `yield`, so that what a tool has done is
committed and others get their turn while the model thinks. The conversation is state, the
notes are KV. Whoever watches the agent gets the tokens as they come (ephemeral: a lost one
does not matter) and each whole answer as an event that is stored and can be resumed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from examples.ai_agent.model import Message, Token, load_model
from examples.ai_agent.tools import TOOLS
from holdfast import Actor, Context, Event, UserError, action, setup

PROMPT_CHARS_MAX = 4000
# What the model is shown; older messages are forgotten, notes are not.
MESSAGES_MAX = 40
# Tool calls for one answer: a model that goes round in circles is stopped.
STEPS_MAX = 8

model = load_model()


@dataclass
class Conversation:
    """What was said lately."""

    messages: list[Message] = field(default_factory=list)


@dataclass
class Part:
    """A part of an answer: a token of it, a tool that is called, what the tool said."""

    kind: Literal["token", "tool", "tool_result"]
    text: str


class Agent(Actor[Conversation]):
    """The agent of one user."""

    state = Conversation
    emits = {"token": Event(str, ephemeral=True), "answer": Event(str)}

    @action
    async def ask(self, c: Context[Conversation], prompt: str) -> AsyncIterator[Part]:
        """Answer a prompt, part by part."""
        if not 0 < len(prompt) <= PROMPT_CHARS_MAX:
            raise UserError(
                f"a prompt has 1 to {PROMPT_CHARS_MAX} characters",
                code="bad_prompt",
                metadata={"characters": len(prompt)},
            )
        # This answer's own, so that two that are asked at once do not mix: it enters the
        # conversation as a whole.
        messages = [*c.state.messages, Message("user", prompt)]
        began = len(messages) - 1
        for _ in range(STEPS_MAX):
            answer, tools = "", 0
            async for part in model.reply(list(messages)):
                if isinstance(part, Token):
                    answer += part.text
                    c.broadcast("token", part.text)
                    yield Part("token", part.text)
                    continue
                tools += 1
                yield Part("tool", f"{part.name}({part.argument})")
                tool = TOOLS.get(part.name)
                result = await tool(c, part.argument) if tool else f"no tool {part.name}"
                messages.append(Message("tool", result))
                yield Part("tool_result", result)
            if not tools:
                messages.append(Message("assistant", answer.strip()))
                c.state.messages = [*c.state.messages, *messages[began:]][-MESSAGES_MAX:]
                c.broadcast("answer", answer.strip())
                return
        raise UserError("the model does not come to an end", code="too_many_steps")

    @action(read_only=True)
    def conversation(self, c: Context[Conversation]) -> list[Message]:
        """What was said lately."""
        return c.state.messages

    @action
    async def forget(self, c: Context[Conversation]) -> None:
        """Begin a new conversation; the notes stay."""
        c.state.messages.clear()


registry = setup(use={"agent": Agent})

if __name__ == "__main__":
    registry.serve()
