"""What a session speaks by: the token that its client showed last, and whom that stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.auth import admitted

if TYPE_CHECKING:
    from holdfast_server.core.auth import Identity
    from holdfast_server.rpc.session.shared import Shared


class Credential:
    """Holds until it is closed; `end` is called with the reason when the token is accepted no
    more, or allows the session no more. Made in the task of the session's RPC."""

    __slots__ = ("_admission", "_end", "_namespace", "_shared", "_timer", "identity", "token")

    def __init__(
        self,
        shared: Shared,
        namespace: str,
        token: str | None,
        identity: Identity,
        end: Callable[[HoldfastError], None],
    ) -> None:
        self._shared = shared
        self._namespace = namespace
        self._end = end
        # It is what namespaces of later commands are checked by.
        self._admission = admitted()
        self._timer: asyncio.TimerHandle | None = None
        self._take(token, identity)

    def renew(self, token: str) -> None:
        """The client shows another; raises when it does not stand for the same caller."""
        self._take(token, self._shared.identify(token, self.identity, self._namespace))

    def recheck(self) -> None:
        """Other tokens are accepted, or its own may have expired."""
        try:
            identity = self._shared.identify(self.token, self.identity, self._namespace)
        except HoldfastError as error:
            self._end(error)
        else:
            self._take(self.token, identity)

    def close(self) -> None:
        """The session is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, token: str | None, identity: Identity) -> None:
        self.token, self.identity = token, identity
        if self._admission is not None:
            self._admission.identity = identity
        self.close()
        left_s = self._shared.left_s(identity)
        if left_s is not None:
            self._timer = self._shared.node.loop.call_later(left_s, self.recheck)
