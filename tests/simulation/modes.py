"""The conditions under which a simulation runs: settings, disk, network, clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.network import Weather

_FAIR: Final = Weather(drop_call=0.01, drop_reply=0.01, duplicate_call=0.01, late_copy=0.01)


@dataclass(frozen=True)
class Mode:
    """What is different from an ordinary day. Weights are of what befalls the server."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    weather: Weather = _FAIR
    # The longest time of half a sync.
    sync_s: float = 0.01
    # The longest time between two blows.
    pause_s: float = 1.5
    # Each actor leaves memory after each turn.
    evicts: bool = False
    # A call may run out of time.
    late: bool = False
    # Events may be gone before a reader has come.
    trims: bool = False
    # Weights: kill, stop, cut, failing disk, evict, clock step.
    kills: int = 4
    stops: int = 1
    cuts: int = 2
    failures: int = 1
    evictions: int = 2
    steps: int = 0


MODES: Final[dict[str, Mode]] = {
    "plain": Mode(),
    "evict": Mode(evicts=True),
    "tiny": Mode(
        trims=True,
        # A full table of answers takes no new call until an old one is over.
        late=True,
        settings={
            "mailbox_max": 3,
            "read_only_max": 2,
            "events_max": 5,
            "replies_max": 12,
            "outbox_rows_max": 8,
            "outbox_in_flight_max": 1,
            "outbox_lanes_max": 2,
            "outbox_attempts_max": 1000,
            "timers_in_flight_max": 1,
            "activations_max": 6,
            "connection_messages_max": 3,
            "subscription_window_bytes": 64,
            "session_chunk_bytes": 64,
            "session_send_bytes_max": 256,
        },
    ),
    "retries": Mode(
        weather=Weather(
            drop_call=0.1, drop_reply=0.25, duplicate_call=0.25, late_copy=0.25, delay_s=0.05
        ),
    ),
    "slow": Mode(late=True, sync_s=1.0, pause_s=8.0),
    "lossy": Mode(
        late=True,
        weather=Weather(
            delay_s=0.3,
            stalled=0.02,
            stall_s=45.0,
            drop_call=0.05,
            drop_reply=0.05,
            duplicate_call=0.05,
            late_copy=0.05,
            late_s=60.0,
        ),
        pause_s=8.0,
        cuts=8,
    ),
    "clock": Mode(steps=6),
    "full": Mode(failures=8),
}


__all__ = ["MODES", "Mode"]
