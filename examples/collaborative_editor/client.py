"""Types into a document, letter by letter, beside whoever edits it in a browser.

    python -m examples.collaborative_editor.client            # the document "welcome"
    python -m examples.collaborative_editor.client minutes

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430, whose gateway is at
HOLDFAST_HTTP, by default 127.0.0.1:6420.
"""

from __future__ import annotations

import asyncio
import os
import sys

from examples.collaborative_editor.app import Document
from examples.collaborative_editor.peer import Peer
from holdfast import Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
GATEWAY = "http://" + os.environ.get("HOLDFAST_HTTP", "127.0.0.1:6420")
LETTER_S = float(os.environ.get("LETTER_S", "0.05"))
LINE = "Typed by a program in Python, merged with whatever you type meanwhile.\n"


async def main(name: str, server: str = SERVER, gateway: str = GATEWAY) -> None:
    """Write one line at the end of the document."""
    async with Client(server, gateway=gateway) as client:
        document = client.get_or_create(Document, [name])
        async with document.websocket() as websocket:
            peer = Peer("Python")
            await peer.connect(websocket)
            for letter in LINE:
                peer.text += letter
                await peer.flush()
                await asyncio.sleep(LETTER_S)
        print(await document.text(), end="")
        facts = await document.facts()
        print(f"{facts.updates} updates, {facts.rows} since the last snapshot")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "welcome"))
