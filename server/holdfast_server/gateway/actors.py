"""/actors: finds, makes and destroys actors, and reads their KV. Always JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import Address, check_key, check_name, format_actor_id, parse_actor_id
from holdfast_server.core.values import Value
from holdfast_server.gateway import endpoints
from holdfast_server.gateway.client import wire_limits
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.values import refused
from holdfast_server.gateway.wire import WireError, format_key, parse_input, parse_key, plain_query
from holdfast_server.gateway.wire.queries import unquote
from holdfast_server.runtime import lifecycle
from holdfast_server.store.keys import directory_prefix

PATH: Final = "/actors"
_IDS_MAX: Final = 32
_PAGE: Final = 100
# Of a body beside its input.
_BODY_EXTRA: Final = 64 << 10


class Actors:
    """The management calls of one node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wire = wire_limits(desk.limits)
        self._operations: dict[str, Callable[..., Awaitable[web.Response]]] = {
            "list": self._list,
            "create": partial(self._make, create=True),
            "get_or_create": partial(self._make, create=False),
            "names": self._names,
            "destroy": self._destroy,
            "kv": self._kv,
        }

    async def answer(self, exchange: Exchange) -> web.Response | None:
        """The answer; None when nothing is served there."""
        found = endpoints.find(endpoints.ACTORS, exchange.http.method, exchange.path)
        if found is None:
            return None
        operation, parts = found
        return await self._operations[operation](exchange, *map(_unquoted, parts))

    async def _list(self, exchange: Exchange) -> web.Response:
        asked = _parameters(exchange)
        ids, name, key = asked.get("actor_ids"), asked.get("name"), asked.get("key")
        if ids is not None:
            if name is not None or key is not None:
                raise invalid("actor_ids", "not together with name or key")
            return exchange.answer_json(
                {"actors": await self._by_ids(exchange, asked, ids.split(","))}
            )
        if name is None:
            raise invalid("name", "is required, unless actor_ids is given")
        if key is not None:
            target = Target(address=self._address(exchange, asked.get("namespace"), name, key))
            return exchange.answer_json({"actors": await self._found(target)})
        return await self._page(exchange, asked, name)

    async def _by_ids(
        self, exchange: Exchange, asked: Mapping[str, str], ids: list[str]
    ) -> list[dict[str, Any]]:
        wanted = [actor_id for actor_id in ids if actor_id]
        if len(wanted) > _IDS_MAX:
            raise invalid("actor_ids", f"has {len(wanted)}", limit=_IDS_MAX)
        namespace = exchange.namespace(asked.get("namespace", ""), self._desk.namespaces)
        found: list[dict[str, Any]] = []
        for text in wanted:
            try:
                target = Target(actor_id=parse_actor_id(text), namespace=namespace)
            except HoldfastError:
                # Nobody can have it.
                continue
            found += await self._found(target)
        return found

    async def _found(self, target: Target) -> list[dict[str, Any]]:
        try:
            actor_id, record = await self._desk.node.lookup.get(target)
        except HoldfastError as error:
            if error.reason is errors.ACTOR_NOT_FOUND:
                return []
            raise
        return [actor_json(actor_id, record)]

    async def _page(self, exchange: Exchange, asked: Mapping[str, str], name: str) -> web.Response:
        check_name(name, "name")
        namespace = exchange.namespace(asked.get("namespace", ""), self._desk.namespaces)
        limit, most = asked.get("limit", str(_PAGE)), self._desk.limits.page_size_max
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= most:
            raise invalid("limit", f"is {limit[:32]}", limit=most)
        try:
            after = bytes.fromhex(asked.get("cursor", ""))
        except ValueError:
            raise invalid("cursor", "is not from this list") from None
        if after and not after.startswith(directory_prefix(namespace, name, ())):
            raise invalid("cursor", "is not from this list")
        rows, following = await self._desk.node.lookup.list_actors(
            namespace, name, (), after, int(limit)
        )
        page = {
            "actors": [actor_json(*row) for row in rows],
            "pagination": {"cursor": following.hex() or None},
        }
        return exchange.answer_json(page)

    async def _make(self, exchange: Exchange, *, create: bool) -> web.Response:
        limits, desk = self._desk.limits, self._desk
        body = await exchange.json(limits.input_bytes_max * 4 // 3 + _BODY_EXTRA)
        if not isinstance(body, dict):
            raise invalid("body", "is not an object")
        asked = _parameters(exchange)
        name, key = _text(body, "name"), _text(body, "key", default="/")
        given = self._input(body.get("input"))
        address = self._address(exchange, asked.get("namespace"), name, key)
        call = Call(
            target=Target(address=address, create=True, input=given),
            action=lifecycle.CREATE if create else lifecycle.GET_OR_CREATE,
            args=given,
            trace=exchange.trace,
            auth=exchange.auth,
        )
        actor_id, record, created = await desk.node.create(call)
        answer: dict[str, Any] = {"actor": actor_json(actor_id, record)}
        if not create:
            answer["created"] = created
        return exchange.answer_json(answer)

    def _input(self, given: Any) -> Value | None:
        if given is None:
            return None
        if not isinstance(given, str):
            raise invalid("input", "is not text in base64")
        try:
            return parse_input(given, self._wire)
        except WireError as error:
            raise refused(error, "", errors.REQUEST_INVALID) from None

    async def _destroy(self, exchange: Exchange, text: str) -> web.Response:
        target = self._by_id(exchange, text)
        call = Call(
            target=target, action=lifecycle.DESTROY, trace=exchange.trace, auth=exchange.auth
        )
        await self._desk.node.destroy(call)
        return exchange.answer_json({})

    async def _names(self, exchange: Exchange) -> web.Response:
        asked = _parameters(exchange)
        exchange.namespace(asked.get("namespace", ""), self._desk.namespaces)
        names = names_json(self._desk)
        return exchange.answer_json({"names": names, "pagination": {"cursor": None}})

    async def _kv(self, exchange: Exchange, text: str, key: str) -> web.Response:
        try:
            plain = key.replace("-", "+").replace("_", "/")
            name = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise invalid("key", "is not base64") from None
        if len(name) > self._desk.limits.kv_key_bytes_max:
            raise HoldfastError(errors.KV_KEY_TOO_LARGE)
        target = self._by_id(exchange, text)
        found = await self._desk.node.lookup.kv_get(target, [name])
        # Before it stands whether it was put as text.
        value = base64.b64encode(found[0][1][1:]).decode() if found else None
        return exchange.answer_json({"value": value})

    def _by_id(self, exchange: Exchange, text: str) -> Target:
        namespace = exchange.namespace(
            _parameters(exchange).get("namespace", ""), self._desk.namespaces
        )
        try:
            return Target(actor_id=parse_actor_id(text), namespace=namespace)
        except HoldfastError:
            raise HoldfastError(errors.ACTOR_NOT_FOUND) from None

    def _address(self, exchange: Exchange, namespace: str | None, name: str, key: str) -> Address:
        check_name(name, "name")
        try:
            parts = parse_key(key)
        except WireError as error:
            raise refused(error, "", errors.REQUEST_INVALID) from None
        check_key(parts, "key", self._desk.limits)
        return Address(exchange.namespace(namespace or "", self._desk.namespaces), name, parts)


def actor_json(actor_id: bytes, record: Any) -> dict[str, Any]:
    """An actor as clients know it. Where it runs, and whether it sleeps, is nobody's concern:
    it can be called at any time."""
    created = record.created_at_ms
    return {
        "actor_id": format_actor_id(actor_id),
        "name": record.name,
        "key": format_key(tuple(record.key)),
        "namespace_id": record.namespace,
        "runner_name_selector": "default",
        "crash_policy": "sleep",
        "create_ts": created,
        "start_ts": created,
        "connectable_ts": created,
        "sleep_ts": None,
        "destroy_ts": None,
    }


def names_json(desk: Desk) -> dict[str, Any]:
    """The names of the registry."""
    return {name: {"metadata": {}} for name in sorted(desk.node.runner.names())}


def _parameters(exchange: Exchange) -> dict[str, str]:
    try:
        return plain_query(exchange.query)
    except WireError as error:
        raise refused(error, "", errors.REQUEST_INVALID) from None


def _unquoted(text: str) -> str:
    try:
        return unquote(text, "path")
    except WireError as error:
        raise refused(error, "", errors.REQUEST_INVALID) from None


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise invalid(name, "is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise invalid(name, "has half a character") from None
    return value
