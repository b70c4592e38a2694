"""What is known of a client by what it calls itself."""

from __future__ import annotations

import re
from typing import Final

_AGENT: Final = re.compile(r"RivetKit/(\d{1,6})\.(\d{1,6})")
_TAGGED_FROM: Final = (2, 3)


def is_tagged(user_agent: str) -> bool:
    """Whether a client of this User-Agent reads tags inside CBOR; browsers send none."""
    found = _AGENT.search(user_agent)
    return found is not None and (int(found[1]), int(found[2])) >= _TAGGED_FROM


__all__ = ["is_tagged"]
