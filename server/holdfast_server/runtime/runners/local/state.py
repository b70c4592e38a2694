"""The state of one live actor: the object that handlers see, and its encoding.

`encoded` is what the last finished turn left; the live object is ahead of it
only while a turn is in progress. Whether a turn changed the state is found by
comparing encodings, and only if the turn asked for the state. A failed turn
drops the live object, which is decoded again when next wanted. Interleaved turns
share it: when one leaves it such that it cannot be stored, the others that used it
fail too, rather than lose what they did to it unnoticed.

A read-only turn sees the last finished turn: the live object when no turn is in
progress and the handler cannot wait, else one decoded from `encoded`, which the
readers of one version share. Each is compared with its own encoding from before:
what decodes from an encoding may encode otherwise (a set, in another order).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast import errors as sdk
from holdfast.state import StateCodec
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import READ_ONLY, Mailbox
from holdfast_server.runtime.turn import Turn

# Stands for what has not been made.
UNSET: Any = object()


class View(NamedTuple):
    """What a read-only turn sees, and what it must still encode to at its end."""

    state: Any
    encoded: bytes


class LiveState:
    """Lends the state to turns, and finds what they did to it."""

    __slots__ = ("_codec", "_dropped", "_live", "_shared", "encoded")

    def __init__(self, codec: StateCodec) -> None:
        self._codec = codec
        self._live: Any = UNSET
        # How often a live object that turns had changed was dropped.
        self._dropped = 0
        self._shared: tuple[bytes, View] | None = None
        self.encoded: bytes | None = None

    def load(self, encoded: bytes) -> None:
        """Take over a stored state; DecodeError when it is none of this type."""
        self._live = self._codec.decode(encoded)
        self.encoded = encoded

    def get(self, turn: Turn, mailbox: Mailbox[Turn]) -> Any:
        """The state for `turn`; `mailbox` tells whether other turns are in progress."""
        turn.touched = True
        if turn.mode is not READ_ONLY:
            live = self._live
            if live is not UNSET and turn.view == self._dropped:
                return live
            self._begin_use(turn)
            return self._get_live()
        view = turn.view
        if not isinstance(view, View):
            live = turn.plain and not mailbox.running
            view = self._live_view() if live else self._shared_view()
            turn.view = view
        return view.state

    def set(self, turn: Turn, state: Any) -> None:
        """Replace the state."""
        turn.touched = True
        self._begin_use(turn)
        self._live = state

    def take(self, turn: Turn) -> bytes | None:
        """The encoding of the state if `turn` changed it."""
        if not turn.touched:
            return None
        if turn.mode is READ_ONLY:
            self._check_unchanged(turn)
            return None
        self._begin_use(turn)
        if self._live is UNSET:
            return None
        data = self._encode(self._live)
        return None if data == self.encoded else data

    def keep(self, encoded: bytes) -> None:
        """What `take` gave has been submitted."""
        self.encoded = encoded

    def rollback(self, turn: Turn) -> None:
        """Forget what `turn` did; a handler's own references are then stale."""
        view = turn.view
        if turn.mode is not READ_ONLY:
            if turn.touched and not self._is_lost(turn):
                self._live = UNSET
                self._dropped += 1
        elif isinstance(view, View):
            self._drop(view)

    @property
    def live(self) -> Any:
        """The live object, for on_state_change."""
        return self._live

    def _is_lost(self, turn: Turn) -> bool:
        """Whether the object that `turn` used has been dropped with its changes."""
        return turn.view is not None and turn.view != self._dropped

    def _begin_use(self, turn: Turn) -> None:
        """Remember which live object `turn` uses; raise when it was dropped since."""
        if turn.view is None:
            turn.view = self._dropped
        elif turn.view != self._dropped:
            raise HoldfastError(
                errors.VALUE_NOT_ENCODABLE,
                "another turn left a state that cannot be stored; the changes of this one are lost",
                metadata={"path": "state"},
            )

    def _get_live(self) -> Any:
        if self._live is UNSET:
            if self.encoded is None:
                raise HoldfastError(errors.NOT_ENABLED, "the state is not created yet")
            self._live = self._codec.decode(self.encoded)
        return self._live

    def _live_view(self) -> View:
        live = self._get_live()
        assert self.encoded is not None
        return View(live, self.encoded)

    def _shared_view(self) -> View:
        encoded = self.encoded
        if encoded is None:
            raise HoldfastError(errors.NOT_ENABLED, "the state is not created yet")
        if self._shared is None or self._shared[0] is not encoded:
            state = self._codec.decode(encoded)
            self._shared = encoded, View(state, self._encode(state))
        return self._shared[1]

    def _check_unchanged(self, turn: Turn) -> None:
        view = turn.view
        assert isinstance(view, View)
        try:
            same = self._encode(view.state) == view.encoded
        except HoldfastError:
            same = False
        if not same:
            self._drop(view)
            raise HoldfastError(errors.READ_ONLY, "a read-only action changed the state")

    def _drop(self, view: View) -> None:
        if view.state is self._live:
            self._live = UNSET
        else:
            self._shared = None

    def _encode(self, state: Any) -> bytes:
        try:
            data: bytes = self._codec.encode(state)
        except sdk.EncodeError as error:
            raise not_encodable(error) from None
        return data


def not_encodable(error: sdk.EncodeError) -> HoldfastError:
    """An EncodeError as the catalogue knows it."""
    return HoldfastError(errors.VALUE_NOT_ENCODABLE, str(error), metadata={"path": error.path})
