"""The stored form of the state of an actor or a connection: MessagePack of one type.

Invariant: what is stored decodes to an equal state. The encoding is read back and
compared, and what would come back as something else (a tuple in a list's place, a dict
in that of a dataclass, an object of a subclass, anything in an untyped position that
MessagePack cannot tell) is refused, with its path.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect as mi

from holdfast._walk import contains, difference, locate
from holdfast.errors import DecodeError, EncodeError
from holdfast.payload import dec_hook, enc_hook


class StateCodec:
    """Encodes and decodes the state of one class; raises TypeError for a type it cannot."""

    __slots__ = ("_decoder", "_encoder", "_root", "type", "untyped")

    def __init__(self, type: Any, root: str = "state") -> None:
        self.type: Any = type
        # What paths in errors begin with.
        self._root = root
        self._encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
        self._decoder = msgspec.msgpack.Decoder(type, dec_hook=dec_hook)
        # A pydantic model reads its fields its own way, so it is compared as well.
        self.untyped: bool = contains(type, mi.AnyType, mi.CustomType)

    def encode(self, state: Any) -> bytes:
        """Encodes a state; raises EncodeError with a path such as `state.a.b[0]`."""
        try:
            data = self._encoder.encode(state)
        except Exception as error:
            path, part = locate(state, self._root, self._fails)
            raise EncodeError(self._reason(part, error), path) from error
        try:
            copy = self._decoder.decode(data)
        except Exception as error:
            raise self._misfit(error) from error
        # Comparing is quick where the values are equal, which they are but for mistakes.
        if self.untyped or copy != state:
            found = difference(state, copy, self._root, typed=not self.untyped)
            if found is not None:
                path, before, after = found
                raise EncodeError(self._explain(before, after), path)
        return data

    def decode(self, data: bytes) -> Any:
        """Decodes a stored state; raises DecodeError."""
        try:
            return self._decoder.decode(data)
        except Exception as error:
            raise DecodeError(str(error) or type(error).__name__, self._root) from error

    def _fails(self, part: Any) -> bool:
        try:
            self._encoder.encode(part)
        except Exception:  # whatever it is, it is the failure that is looked for
            return True
        return False

    def _reason(self, part: Any, error: Exception) -> str:
        try:
            self._encoder.encode(part)
        except RecursionError:
            return "nested too deeply, or contains itself"
        except Exception as cause:
            return str(cause)
        return str(error)

    def _misfit(self, error: Exception) -> EncodeError:
        """Of what the type would not read back, such as a string in an `int` field:
        once committed, it would keep the actor from ever waking."""
        message, _, path = str(error).partition(" - at ")
        return EncodeError(message, self._root + path.strip("`").removeprefix("$"))

    def _explain(self, before: Any, after: Any) -> str:
        ours, theirs = type(before).__qualname__, type(after).__qualname__
        advice = "; give it a type" if self.untyped else ""
        if ours != theirs:
            return f"a value of type {ours} would come back as {theirs}{advice}"
        return f"a value of type {ours} would come back changed{advice}"
