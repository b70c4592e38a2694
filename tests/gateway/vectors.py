"""Golden vectors: bytes of the real clients, and what they understand of ours.

`python -m tests.gateway.vectors` writes them anew, which needs `make setup-gateway`.
`sent.json` holds what clients send, for each case the bytes and the versions that send
them. `read.json` holds what we send and what the clients understood of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.gateway.clients import TAGGED, VERSIONS, run_script
from tests.gateway.replies import sent_to_client

VECTORS: Final = Path(__file__).parent / "vectors"
ENCODINGS: Final = ("json", "cbor", "bare")
KINDS: Final = {"tagged": TAGGED, "untagged": tuple(v for v in VERSIONS if v not in TAGGED)}


@cache
def load(name: str) -> Any:
    """The committed vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def sent_by(version: str) -> Any:
    """What one version sends, part by part and case by case."""
    return run_script("vectors.mjs", version, "sent")


def make_sent() -> dict[str, Any]:
    """What all versions send."""
    by_version = {version: sent_by(version) for version in VERSIONS}
    made: dict[str, Any] = {}
    for encoding in ENCODINGS:
        made[encoding] = {
            part: _by_bytes({v: said[encoding][part] for v, said in by_version.items()})
            for part in ("bodies", "frames")
        }
    for part in ("inputs", "keys"):
        made[part] = _by_bytes({v: said[part] for v, said in by_version.items()})
    return made


def _by_bytes(by_version: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    """For each case the bytes, and who sends them."""
    made: dict[str, dict[str, list[str]]] = {}
    for version, cases in by_version.items():
        for case, data in cases.items():
            made.setdefault(case, {}).setdefault(data or "", []).append(version)
    return made


def read_by(version: str) -> dict[str, Any]:
    """What one version is sent, and what it understands of it, in each encoding."""
    given = {e: sent_to_client(e, tagged=version in TAGGED) for e in ENCODINGS}
    understood = run_script("vectors.mjs", version, "read", given=given)
    return {e: {"given": given[e], "understood": understood[e]} for e in ENCODINGS}


def make_read() -> dict[str, Any]:
    """What the first version of each kind understands; the tests say that all do the same."""
    return {kind: read_by(versions[0]) for kind, versions in KINDS.items()}


def write(name: str, vectors: Any) -> None:
    (VECTORS / f"{name}.json").write_text(_lines(vectors, 3) + "\n", encoding="utf-8")


def _lines(value: Any, depth: int) -> str:
    """JSON with a line for each case."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    inner = (f"{json.dumps(key)}: {_lines(item, depth - 1)}" for key, item in value.items())
    return "{\n" + ",\n".join(inner) + "\n}"


if __name__ == "__main__":
    write("sent", make_sent())
    write("read", make_read())
