"""The agent: answers, tools, what it remembers, and what it does not let itself be told."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from examples.ai_agent.app import MESSAGES_MAX, PROMPT_CHARS_MAX, STEPS_MAX, Agent, Part
from examples.ai_agent.model import Message
from examples.ai_agent.tools import NOTES_MAX, SUM_CHARS_MAX
from holdfast import ActorError, Client
from tests.examples.conftest import run_client
from tests.server_process import ServerProcess, served

EXAMPLE = "ai_agent"
# The application with a model that always wants a tool, and one that is not there.
LOOPING = """
from collections.abc import AsyncIterator, Sequence
from examples.ai_agent import app
from examples.ai_agent.model import Message, ToolCall

class Looping:
    async def reply(self, messages: Sequence[Message]) -> AsyncIterator[ToolCall]:
        yield ToolCall("dance", "")

app.model = Looping()
app.registry.serve()
"""


async def ask(agent: Agent, prompt: str) -> tuple[str, list[Part]]:
    """The answer, and the tools on the way to it."""
    parts = [part async for part in agent.ask(prompt)]
    answer = "".join(part.text for part in parts if part.kind == "token")
    return answer, [part for part in parts if part.kind != "token"]


def test_the_client_asks_and_the_agent_remembers_a_kill(server: ServerProcess) -> None:
    first = run_client(server, EXAMPLE)
    assert first == [
        "> Hello!",
        "You said: 'Hello!'. I can calculate, remember and recall.",
        "> What is 6 * 7?",
        "  [tool] calculate(6 * 7)",
        "  [tool result] 6 * 7 is 42.",
        "6 * 7 is 42.",
        "> Remember that Ada likes tea.",
        "  [tool] remember(Ada likes tea)",
        "  [tool result] I will remember: Ada likes tea.",
        "I will remember: Ada likes tea.",
        "> What do you know?",
        "  [tool] recall()",
        "  [tool result] I know this: Ada likes tea.",
        "I know this: Ada likes tea.",
        "(11 messages in this conversation)",
    ]
    server.kill()
    server.start()

    again = run_client(server, EXAMPLE)

    assert again[-2:] == [
        "I know this: Ada likes tea; Ada likes tea.",
        "(22 messages in this conversation)",
    ]


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("1 + 2 * (3 - 4) / 2", "1 + 2 * (3 - 4) / 2 is 0."),
        ("1000000 * 7", "1000000 * 7 is 7000000."),
        ("9**9**9", "I cannot calculate 9**9**9."),
        ("1/0", "I cannot calculate 1/0."),
        ("2 * (3", "I cannot calculate 2 * (3."),
        (
            "9" * 150 + "*" + "9" * 40 + "*1.5.2",
            f"I cannot calculate {'9' * 150}*{'9' * 40}*1.5.2.",
        ),
        ("9" * 150 + "*1", "9" * 150 + "*1 is 1e+150."),
        ("1+" * SUM_CHARS_MAX + "1", f"I calculate sums of at most {SUM_CHARS_MAX} characters."),
        ("1+" + "-" * 190 + "1", "1+" + "-" * 190 + "1 is 2."),
    ],
)
async def test_a_sum_has_an_answer_whatever_it_is(
    client: Client, own: str, prompt: str, answer: str
) -> None:
    said, tools = await ask(client.get_or_create(Agent, [own]), prompt)

    assert said == answer
    assert tools == [Part("tool", f"calculate({prompt})"), Part("tool_result", answer)]


async def test_who_watches_sees_tokens_and_the_answer(client: Client, own: str) -> None:
    agent = client.get_or_create(Agent, [own])
    async with agent.connect() as watched:
        events = watched.events("token", "answer")
        await watched.conversation()

        said, _ = await ask(agent, "Hello!")

        tokens = ""
        async for event in events:
            if event.name == "answer":
                break
            assert event.sequence == 0
            tokens += event.args[0]
        assert tokens == said == event.args[0]
        assert event.sequence == 1


async def test_two_answers_at_once_do_not_mix(client: Client, own: str) -> None:
    agent = client.get_or_create(Agent, [own])

    await asyncio.gather(*(ask(agent, f"{number} * 2") for number in range(8)))

    messages = await agent.conversation()
    assert [message.role for message in messages] == ["user", "tool", "assistant"] * 8
    for at in range(0, 24, 3):
        number = int(messages[at].text.split()[0])
        assert messages[at + 2].text == f"{number} * 2 is {number * 2}."


async def test_the_conversation_is_bounded_and_notes_outlive_it(client: Client, own: str) -> None:
    agent = client.get_or_create(Agent, [own])
    await ask(agent, "remember that tea is hot")
    for number in range(MESSAGES_MAX):
        await ask(agent, f"word {number}")

    messages = await agent.conversation()
    assert len(messages) == MESSAGES_MAX
    assert messages[-2] == Message("user", f"word {MESSAGES_MAX - 1}")

    await agent.forget()
    assert await agent.conversation() == []
    assert (await ask(agent, "what do you know?"))[0] == "I know this: tea is hot."


async def test_notes_are_bounded(client: Client, own: str) -> None:
    agent = client.get_or_create(Agent, [own])
    for number in range(NOTES_MAX):
        await ask(agent, f"remember: note {number}")

    said, _ = await ask(agent, "remember: one more")

    assert said == f"I have {NOTES_MAX} notes already and cannot keep more."


@pytest.mark.parametrize("prompt", ["", "x" * (PROMPT_CHARS_MAX + 1)])
async def test_a_prompt_that_is_none_changes_nothing(client: Client, own: str, prompt: str) -> None:
    agent = client.get_or_create(Agent, [own])

    with pytest.raises(ActorError) as caught:
        await ask(agent, prompt)

    assert (caught.value.code, caught.value.metadata) == ("bad_prompt", {"characters": len(prompt)})
    assert await agent.conversation() == []


async def test_a_model_that_does_not_come_to_an_end_is_stopped(tmp_path: Path) -> None:
    with served([sys.executable, "-c", LOOPING], tmp_path / "data") as server:
        async with Client(server.address) as client:
            agent = client.get_or_create(Agent, ["ada"])
            parts: list[Part] = []

            with pytest.raises(ActorError) as caught:
                async for part in agent.ask("hello"):
                    parts.append(part)

            assert caught.value.code == "too_many_steps"
            assert parts == [Part("tool", "dance()"), Part("tool_result", "no tool dance")] * (
                STEPS_MAX
            )
            assert await agent.conversation() == []
