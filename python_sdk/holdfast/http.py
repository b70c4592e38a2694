"""Raw HTTP: the request that `on_request` gets, and the response that it gives.

Both also serve the other side: `handle.fetch` answers with a Response whose body is read
by `body`, `text`, `json` or `stream`. Headers keep their order and spelling and are looked
up whatever their case.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote

from holdfast.errors import ActorError, HoldfastError

Pairs: TypeAlias = tuple[tuple[str, str], ...]
GivenHeaders: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""Headers as code gives them: a mapping, or pairs where a name may come again."""

Part: TypeAlias = bytes | str
Body: TypeAlias = bytes | str | AsyncIterable[Part]

# RFC 9110, section 5.6.2: the characters of a token.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Headers(Mapping[str, str]):
    """Headers in their order. A name, in any case, gives its first value; `get_all` every."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Pairs = ()) -> None:
        self._pairs = pairs

    @property
    def pairs(self) -> Pairs:
        """Names and values as they are, in their order."""
        return self._pairs

    def get_all(self, name: str) -> list[str]:
        """Every value of a name, in their order."""
        wanted = name.lower()
        return [value for key, value in self._pairs if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        wanted = name.lower()
        for key, value in self._pairs:
            if key.lower() == wanted:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self._pairs})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key.lower() == name.lower() for key, _ in self._pairs)

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"


class Query(Mapping[str, str]):
    """The decoded parameters of a URL. A name gives its first value; `str` the raw text."""

    __slots__ = ("_pairs", "_raw")

    def __init__(self, raw: str = "") -> None:
        self._raw = raw
        self._pairs: Pairs | None = None

    @property
    def pairs(self) -> Pairs:
        """Names and values, decoded, in their order."""
        if self._pairs is None:
            self._pairs = tuple(parse_qsl(self._raw, keep_blank_values=True))
        return self._pairs

    def get_all(self, name: str) -> list[str]:
        """Every value of a name, in their order."""
        return [value for key, value in self.pairs if key == name]

    def __getitem__(self, name: str) -> str:
        for key, value in self.pairs:
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self.pairs))

    def __len__(self) -> int:
        return len(dict(self.pairs))

    def __str__(self) -> str:
        return self._raw

    def __repr__(self) -> str:
        return f"Query({self._raw!r})"


class BodySource(Protocol):
    """Where the body of a request or response comes from."""

    async def read(self) -> bytes:
        """The next part, empty at its end."""
        ...


class ClientDisconnected(HoldfastError):
    """The client has gone before its request or its response was over."""


class _WithBody:
    """A body that is read once: in parts, or whole, which is then kept."""

    __slots__ = ("_read", "_source", "_whole")

    def __init__(self, source: BodySource | None) -> None:
        self._source = source
        self._whole: bytes | None = b"" if source is None else None
        self._read = 0

    async def body(self, *, limit: int | None = None) -> bytes:
        """The whole body; asked for again, the same bytes.

        With more than `limit` bytes raises ActorError `message.incoming_too_long`.
        """
        if self._whole is None:
            self._whole = b"".join([part async for part in self.stream(limit=limit)])
        elif limit is not None and len(self._whole) > limit:
            raise _too_long(len(self._whole), limit)
        return self._whole

    async def text(self, *, limit: int | None = None) -> str:
        """The whole body as text in UTF-8; ActorError `request.invalid` if it is none."""
        try:
            return (await self.body(limit=limit)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _malformed(f"is no UTF-8: {error.reason} at byte {error.start}") from None

    async def json(self, *, limit: int | None = None) -> Any:
        """The whole body as JSON; ActorError `request.invalid` if it is none."""
        text = await self.text(limit=limit)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _malformed(f"is no JSON: {error}") from None

    async def stream(self, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        """The parts of the body as they come; they are not kept.

        After more than `limit` bytes raises ActorError `message.incoming_too_long`.
        """
        if self._whole is not None:
            if limit is not None and len(self._whole) > limit:
                raise _too_long(len(self._whole), limit)
            if self._whole:
                yield self._whole
            return
        source, self._source = self._source, None
        if source is None:
            raise HoldfastError("the body has been read as a stream, and is not kept")
        try:
            while part := await source.read():
                self._read += len(part)
                if limit is not None and self._read > limit:
                    raise _too_long(self._read, limit)
                yield part
        finally:
            await _close(source)

    async def close(self) -> None:
        """Read no more of the body. A client that does not read an answer to its end, or
        not at all, so gives its connection back."""
        source, self._source = self._source, None
        if source is not None:
            await _close(source)


async def _close(source: BodySource) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        await close()


def _too_long(size: int, limit: int) -> ActorError:
    return ActorError(
        "message",
        "incoming_too_long",
        f"body of {size} bytes or more; at most {limit}",
        {"field": "body", "limit": str(limit)},
        reason="MESSAGE_INCOMING_TOO_LONG",
    )


def _malformed(message: str) -> ActorError:
    return ActorError(
        "request", "invalid", f"body: {message}", {"field": "body"}, reason="REQUEST_INVALID"
    )


class Target:
    """The address of a request: `url`, `path`, `query`, and its headers."""

    def __init__(self, scheme: str, target: str, headers: Pairs) -> None:
        self.headers: Headers = Headers(headers)
        """The request's headers."""
        path, _, query = target.partition("?")
        self.raw_path: str = path
        """The path as it came."""
        self.query: Query = Query(query)
        """The parameters of the URL; `str(request.query)` is the text as it came."""
        self.url: str = f"{scheme}://{self.headers.get('host', 'localhost')}{target}"
        """The URL as the actor sees it: without the part that led to the actor."""

    @property
    def path(self) -> str:
        """The path, decoded; it begins with "/". `raw_path` has it as it came."""
        return unquote(self.raw_path)


class Request(_WithBody, Target):
    """A request of a client, as `on_request` gets it."""

    def __init__(
        self,
        method: str = "GET",
        target: str = "/",
        headers: GivenHeaders = (),
        source: BodySource | None = None,
        *,
        scheme: str = "http",
        client: tuple[str, int] | None = None,
    ) -> None:
        """`target` is path and query, percent-encoded; without a `source` there is no body."""
        _WithBody.__init__(self, source)
        Target.__init__(self, scheme, target, header_pairs(headers))
        self.method: str = method
        """The method, as it came: "GET"."""
        self.client: tuple[str, int] | None = client
        """Address and port of the client; None where that is not known."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"


class Response(_WithBody):
    """An answer to a request.

    `body` is bytes, text (sent in UTF-8), or an async iterator of either, which is sent
    part by part: see "Streaming" in docs/raw-http.md. `headers` is a mapping, or pairs
    where a name comes more than once. Text gets the content type text/plain, unless the
    headers say another. Raises TypeError or ValueError for what cannot be sent.
    """

    __slots__ = ("headers", "parts", "status")

    def __init__(
        self,
        body: Body = b"",
        status: int = 200,
        headers: GivenHeaders | None = None,
    ) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status is a number, not {type(status).__name__}")
        if not 200 <= status <= 599:
            raise ValueError(f"the status of an answer is from 200 to 599, not {status}")
        super().__init__(None)
        pairs = header_pairs(() if headers is None else headers)
        typed = any(name.lower() == "content-type" for name, _ in pairs)
        self.parts: AsyncIterable[Part] | None = None
        """The iterator of a body that is sent part by part; None for any other."""
        if isinstance(body, str):
            self._whole = body.encode("utf-8")
            pairs = pairs if typed else (*pairs, ("content-type", "text/plain; charset=utf-8"))
        elif isinstance(body, (bytes, bytearray, memoryview)):
            self._whole = bytes(body)
        elif isinstance(body, AsyncIterable):
            self._whole, self.parts = None, body
            kind = getattr(body, "content_type", None)
            if isinstance(kind, str) and not typed:
                pairs = (*pairs, ("content-type", kind), ("cache-control", "no-store"))
        else:
            raise TypeError(
                "a body is bytes, str or an async iterator of these, not "
                f"{type(body).__name__}; for JSON use Response.from_json(...)"
            )
        self.status: int = status
        """The status code."""
        self.headers: Headers = Headers(pairs)
        """The headers."""

    @classmethod
    def from_json(
        cls, value: Any, status: int = 200, headers: GivenHeaders | None = None
    ) -> Response:
        """An answer with `value` as JSON; TypeError for what JSON cannot say."""
        pairs = header_pairs(() if headers is None else headers)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        typed = any(name.lower() == "content-type" for name, _ in pairs)
        kind = () if typed else (("content-type", "application/json"),)
        return cls(text.encode("utf-8"), status, (*pairs, *kind))

    @classmethod
    def received(cls, status: int, headers: Pairs, source: BodySource) -> Response:
        """An answer that a server has given, whose body is read from `source`."""
        made = cls.__new__(cls)
        _WithBody.__init__(made, source)
        made.status, made.headers, made.parts = status, Headers(headers), None
        return made

    @property
    def source(self) -> BodySource:
        """Where the body of a received answer comes from."""
        assert self._source is not None
        return self._source

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def whole(self) -> bytes | None:
        """The body, if it is there as a whole; None for one that comes in parts."""
        return self._whole

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def is_token(text: object) -> bool:
    """Whether this can be a method, or the name of a header."""
    return isinstance(text, str) and bool(text) and _TOKEN.issuperset(text)


def header_pairs(headers: GivenHeaders) -> Pairs:
    """Headers as pairs; TypeError or ValueError for what could not be sent."""
    if isinstance(headers, Headers):
        return headers.pairs
    items = headers.items() if isinstance(headers, Mapping) else headers
    pairs = tuple((name, value) for name, value in items)
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"names and values of headers are strings: {name!r}: {value!r}")
        if not is_token(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if any((ord(each) < 32 and each != "\t") or ord(each) == 127 for each in value):
            raise ValueError(f"the value of {name!r} has control characters")
    return pairs


__all__ = ["ClientDisconnected", "Headers", "Query", "Request", "Response"]
