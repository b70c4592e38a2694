"""Asks the agent a few things, or whatever is on the command line, and prints as it answers.

    python -m examples.ai_agent.client
    python -m examples.ai_agent.client "what is 6 * 7?"

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430. Run it again: the agent
remembers.
"""

from __future__ import annotations

import asyncio
import os
import sys

from examples.ai_agent.app import Agent
from holdfast import ActorError, Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
PROMPTS = (
    "Hello!",
    "What is 6 * 7?",
    "Remember that Ada likes tea.",
    "What do you know?",
)


async def main(prompts: tuple[str, ...], server: str = SERVER) -> None:
    """Ask each prompt and print the answer as it comes."""
    async with Client(server) as client:
        agent = client.get_or_create(Agent, ["ada"])
        for prompt in prompts:
            print(f"> {prompt}")
            await ask(agent, prompt)
        print(f"({len(await agent.conversation())} messages in this conversation)")


async def ask(agent: Agent, prompt: str) -> None:
    """Print one answer part by part."""
    try:
        async for part in agent.ask(prompt):
            if part.kind == "token":
                print(part.text, end="", flush=True)
            else:
                print(f"  [{part.kind.replace('_', ' ')}] {part.text}")
        print()
    except ActorError as error:
        print(f"refused: {error.message}")


if __name__ == "__main__":
    asyncio.run(main(tuple(sys.argv[1:]) or PROMPTS))
