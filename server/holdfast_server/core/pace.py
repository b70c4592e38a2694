"""When to sync: at once for a batch that is alone, a little later for company.

A sync costs the disk, the loop and two changes of thread the same for one batch
as for many, so that callers who wait together are best served together. How
many those are is known from before: as many as waited at once when the last
sync ended, since each of them is likely to call again. A sync starts when so
many batches wait again. It also starts when nobody came for as long as the last
sync took, or `wait_s` after the first batch came: then some have gone. While the
loop works off what it has received, it has not yet seen who else came, so that
only a loop that is idle counts as nobody coming. After a pause nobody is expected.
"""

from __future__ import annotations

from typing import Final

# More save little by going together; they are worked off while the first ones are synced.
_TOGETHER_MAX: Final = 64


class Pace:
    """Decides from what was seen; all times are those of one monotonic clock."""

    __slots__ = ("_came", "_ended", "_expected", "_first", "_quiet_s", "_wait_s")

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._expected = 1
        self._quiet_s = 0.0
        # When the first of the waiting batches came, when the last came or the loop was
        # busy, and when the last sync ended.
        self._first = self._came = self._ended = 0.0

    def came(self, waiting: int, now: float) -> float:
        """A batch came, and now `waiting` do: how long to go on waiting, 0 for not at all."""
        self._came = now
        if waiting == 1:
            self._first = now
            if now - self._ended > self._wait_s:
                self._expected = 1
        return self.left(waiting, now)

    def looked(self, late_s: float, now: float) -> None:
        """The loop came to look `late_s` later than it was to: it was busy until now."""
        if late_s > self._quiet_s / 2:
            self._came = now

    def left(self, waiting: int, now: float) -> float:
        """How long to go on waiting if nobody comes; 0 for not at all."""
        if waiting >= self._expected:
            return 0.0
        until = min(self._first + self._wait_s, self._came + self._quiet_s)
        return max(0.0, until - now)

    def synced(self, count: int, waiting: int, took_s: float, now: float) -> None:
        """A sync of `count` batches ended, while `waiting` others came."""
        self._expected = min(count + waiting, _TOGETHER_MAX)
        self._quiet_s = took_s
        self._ended = now
