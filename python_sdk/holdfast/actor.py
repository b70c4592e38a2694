"""What users derive from: Actor, with its options and hooks, and the `@action` descriptor.

One class has two faces. On the server an instance holds nothing but methods: its state
is on the context. For a client the same class is the static type of a handle, whose
actions take no context; `@action` drops `self` and `c` from the signature for that.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    cast,
    overload,
)

from typing_extensions import TypeVar

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.actor_connection import ActorConnection
    from holdfast.asgi import AsgiApp
    from holdfast.connection import Connection
    from holdfast.context import Context
    from holdfast.event import Event
    from holdfast.events import DeliveredEvent, SlowReader
    from holdfast.fetch import ClientSocket, FetchBody
    from holdfast.http import GivenHeaders, Request, Response
    from holdfast.websocket import WebSocket

Durability = Literal["synced", "buffered"]

_ACTION_OPTIONS = ("name", "read_only", "interleave", "thread", "durability", "timeout_s")

S = TypeVar("S", default=Any)
C = TypeVar("C", default=Any)
# The context's own type: a plain `Any` in its place would lose the type parameters of a
# generic actor class.
X = TypeVar("X", bound="Context[Any, Any]")
P = ParamSpec("P")
R = TypeVar("R")


class Action(Generic[P, R]):
    """An action of a class. `R` is what a call gives: an awaitable or an async iterator."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        read_only: bool = False,
        interleave: bool = False,
        thread: bool = False,
        durability: Durability | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.function: Callable[..., Any] = function
        self.owner: type | None = None
        self.attribute: str = getattr(function, "__name__", "")
        self.name: str = self.attribute if name is None else name
        self.read_only: bool = read_only
        self.interleave: bool = interleave
        self.thread: bool = thread
        self.durability: Durability | None = durability
        self.timeout_s: float | None = timeout_s
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        if self.name == self.attribute:
            self.name = name
        self.attribute = name
        self.owner = owner

    @overload
    def __get__(self, instance: None, owner: type) -> Action[P, R]: ...
    @overload
    def __get__(self, instance: Actor[Any, Any], owner: type) -> BoundAction[P, R]: ...
    def __get__(
        self, instance: Actor[Any, Any] | None, owner: type
    ) -> Action[P, R] | BoundAction[P, R]:
        return self if instance is None else BoundAction(self, instance)

    def inline(
        self, actor: Actor[Any, Any], c: Context[Any, Any], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs the action of a live actor inside the present turn."""
        if inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(self.function):
            return cast(R, self.function(actor, c, *args, **kwargs))
        return cast(R, _call_plain(self.function, actor, c, args, kwargs))

    def __repr__(self) -> str:
        return f"<action {self.name!r}>"


async def _call_plain(
    function: Callable[..., Any],
    actor: object,
    c: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A plain function seen as every other action: something to await."""
    return function(actor, c, *args, **kwargs)


class BoundAction(Generic[P, R]):
    """An action of one actor: called on a handle; inside a turn only `inline` runs it."""

    __slots__ = ("_action", "_actor")

    def __init__(self, action: Action[P, R], actor: Actor[Any, Any]) -> None:
        self._action = action
        self._actor = actor

    @property
    def name(self) -> str:
        return self._action.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        attribute = self._action.attribute
        lead = "async for item in" if inspect.isasyncgenfunction(self._action.function) else "await"
        raise HoldfastError(
            f"{type(self._actor).__name__}.{attribute} is an action and needs a context inside "
            f"a turn: use `{lead} self.{attribute}.inline(c, ...)`"
        )

    def inline(self, c: Context[Any, Any], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the action inside the present turn."""
        return self._action.inline(self._actor, c, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<action {self._action.name!r} of {type(self._actor).__name__}>"


class ActionDecorator:
    """What `@action(...)` with options gives: the same decorator with the options set."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, X, P], Coroutine[Any, Any, R]], /
    ) -> Action[P, Coroutine[Any, Any, R]]: ...
    # A plain function that returns an async iterator falls under both this and the next.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Any, X, P], AsyncIterator[R]], /
    ) -> Action[P, AsyncIterator[R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, X, P], R], /
    ) -> Action[P, Coroutine[Any, Any, R]]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        return Action(function, **self._options)


@overload
def action(
    function: Callable[Concatenate[Any, X, P], Coroutine[Any, Any, R]], /
) -> Action[P, Coroutine[Any, Any, R]]: ...
@overload
def action(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[Any, X, P], AsyncIterator[R]], /
) -> Action[P, AsyncIterator[R]]: ...
@overload
def action(
    function: Callable[Concatenate[Any, X, P], R], /
) -> Action[P, Coroutine[Any, Any, R]]: ...
@overload
def action(
    *,
    name: str | None = None,
    read_only: bool = False,
    interleave: bool = False,
    thread: bool = False,
    durability: Durability | None = None,
    timeout_s: float | None = None,
) -> ActionDecorator: ...
def action(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a method an action: callable by clients under its name, or under `name`.

    A method that is `async def`, a plain function, or an async generator, which makes a
    streaming action. `read_only` actions run beside others and change nothing;
    `interleave` lets other turns of the actor run while this one awaits; `thread` runs a
    plain function off the event loop. `durability` and `timeout_s`, in seconds, override
    those of the class. Raises TypeError for an unknown option.
    """
    unknown = [name for name in options if name not in _ACTION_OPTIONS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], _ACTION_OPTIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"action() has no option {unknown[0]!r}{hint}")
    if function is None:
        return ActionDecorator(options)
    if isinstance(function, str):
        raise TypeError(f"the name of an action is an option: @action(name={function!r})")
    return Action(function, **options)


class Actor(Generic[S, C]):
    """Base of actors; `S` is the type of the state, `C` that of a connection's state.

    Options are class attributes, checked at registration. Where a class sets none, the
    server's own settings hold, which have these defaults:

    - `sleep_timeout_s` (30): seconds without work after which the actor leaves memory.
    - `no_sleep` (False): the actor never goes to sleep by itself.
    - `action_timeout_s` (60): seconds after which a turn is cancelled; an action's own
      `timeout_s` comes before it.
    - `mailbox_max` (the server's, 1,000): calls that wait; more answer `actor.overloaded`.
    - `state_schema_version` (1): raise it with `migrate_state` when the state changes.
    - `interleave` (False): turns interleave at `await`.
    - `reentrant` (False): a call that comes back to the actor it began at runs at once.
    - `durability` ("synced"): "buffered" answers before the disk has it.
    - `hibernate_connections` (True): open connections do not keep the actor in memory.
    - `hibernate_websockets` (False): the actor may sleep while its raw WebSockets stay open;
      the next message wakes it, and `on_websocket` runs anew with `websocket.resumed`.
    - `state_ttl_s` (None): seconds without a change of the state after which the actor is
      destroyed.
    """

    sleep_timeout_s: ClassVar[float] = 30
    no_sleep: ClassVar[bool] = False
    action_timeout_s: ClassVar[float] = 60
    state_schema_version: ClassVar[int] = 1
    interleave: ClassVar[bool] = False
    reentrant: ClassVar[bool] = False
    durability: ClassVar[Durability] = "synced"
    mailbox_max: ClassVar[int | None] = None
    hibernate_connections: ClassVar[bool] = True
    hibernate_websockets: ClassVar[bool] = False
    state_ttl_s: ClassVar[float | None] = None

    if TYPE_CHECKING:
        # A class, called for each new actor, or a value, copied for each.
        state: ClassVar[Any]
        # The same for each connection.
        conn_state: ClassVar[Any]
        vars: ClassVar[Any]
        # Declared events by name: see `Event`.
        emits: ClassVar[Mapping[str, Event]]
        __holdfast_name__: ClassVar[str]

    async def create_state(self, c: Context[Any, Any], input: Any) -> S:
        """Makes the state of a new actor from its input."""
        raise HoldfastError(f"{type(self).__name__} does not define create_state")

    async def on_create(self, c: Context[Any, Any], input: Any) -> None:
        """Runs once, in the turn that creates the actor."""

    async def create_vars(self, c: Context[Any, Any]) -> Any:
        """Makes the in-memory data of an activation."""
        return None

    async def on_wake(self, c: Context[Any, Any]) -> None:
        """Runs at each activation, before the first action."""

    async def run(self, c: Context[Any, Any]) -> None:
        """Goes on beside the turns of an activation, and keeps it awake until it returns.

        It begins when the actor has started. It holds no turn: use `async with c.turn():`.
        It must end when `c.abort_signal` is set, and is cancelled `sleep_grace_s` later.
        """

    async def on_sleep(self, c: Context[Any, Any]) -> None:
        """Runs in a turn of its own when the actor goes to sleep; not when it is killed."""

    async def on_destroy(self, c: Context[Any, Any]) -> None:
        """Runs in the turn that deletes the actor."""

    async def on_before_connect(self, c: Context[Any, Any], params: Any) -> None:
        """Lets a client in, or raises to reject it; may change nothing."""

    async def create_conn_state(self, c: Context[Any, Any], params: Any) -> C:
        """Makes the state of a new connection; raises to reject it; may change nothing."""
        raise HoldfastError(f"{type(self).__name__} does not define create_conn_state")

    async def on_connect(self, c: Context[Any, Any], conn: Connection[C]) -> None:
        """Runs in the turn that opens a connection; raises to reject it."""

    async def on_disconnect(self, c: Context[Any, Any], conn: Connection[C]) -> None:
        """Runs once for each connection that was opened, when it is over."""

    # What these give is said so that any ASGI application fits too: see asgi_handler.

    def on_request(
        self, c: Context[Any, Any], request: Request, /
    ) -> Coroutine[Any, Any, Response | AsgiApp]:
        """Answers a raw HTTP request; in a turn, whose commit the answer waits for."""
        raise HoldfastError(f"{type(self).__name__} does not define on_request")

    def on_websocket(
        self, c: Context[Any, Any], websocket: WebSocket, /
    ) -> Coroutine[Any, Any, None]:
        """Serves a raw WebSocket until it returns, which closes it: a turn each message."""
        raise HoldfastError(f"{type(self).__name__} does not define on_websocket")

    def on_state_change(self, c: Context[Any, Any], state: S) -> None:
        """Runs once at the end of a turn that changed the state; its own changes count."""

    async def on_before_action_response(
        self, c: Context[Any, Any], name: str, args: tuple[Any, ...], output: Any
    ) -> Any:
        """Gives the result that leaves in place of `output`."""
        return output

    def migrate_state(self, old_version: int, data: Any) -> Any:
        """Turns state stored under an older state_schema_version into the present form."""
        raise HoldfastError(
            f"{type(self).__name__} has stored state of version {old_version} "
            "and does not define migrate_state"
        )

    # Members of a handle; a live actor has none of them.

    def with_options(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        encoding: str | int | None = None,
        params: Any = None,
    ) -> Self:
        """A handle of the same actor with options for its calls."""
        self._no_handle("with_options")

    async def action(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls an action by its name on the wire."""
        self._no_handle("action")

    def action_stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Calls a streaming action by its name on the wire."""
        self._no_handle("action_stream")

    async def resolve(self) -> str:
        """The id of the actor."""
        self._no_handle("resolve")

    def connect(self, params: Any = None) -> ActorConnection[Self]:
        """A connection to the actor, to be entered with `async with`."""
        self._no_handle("connect")

    def on(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Calls a function with the arguments of each event of a name."""
        self._no_handle("on")

    def once(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *,
        slow_reader: SlowReader = "end",
    ) -> Callable[[], None]:
        """Calls a function with the arguments of the next event of a name."""
        self._no_handle("once")

    def events(
        self,
        *names: str,
        from_sequence: int | None = None,
        slow_reader: SlowReader = "end",
    ) -> AsyncIterator[DeliveredEvent]:
        """The events of the actor, from now on or from a number."""
        self._no_handle("events")

    async def fetch(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: GivenHeaders | None = None,
        body: FetchBody = None,
    ) -> Response:
        """Sends a raw HTTP request to the actor's `on_request`."""
        self._no_handle("fetch")

    def websocket(
        self,
        path: str = "/",
        *,
        headers: GivenHeaders | None = None,
        subprotocols: Sequence[str] = (),
    ) -> ClientSocket:
        """A raw WebSocket to the actor's `on_websocket`, to be entered with `async with`."""
        self._no_handle("websocket")

    async def get_gateway_url(self) -> str:
        """The URL of the actor at the gateway."""
        self._no_handle("get_gateway_url")

    def _no_handle(self, member: str) -> NoReturn:
        raise HoldfastError(
            f"{member} belongs to handles; inside {type(self).__name__} get one from c.client"
        )


CLIENT_MEMBERS = frozenset(
    {
        "with_options",
        "action",
        "action_stream",
        "resolve",
        "connect",
        "on",
        "once",
        "events",
        "fetch",
        "websocket",
        "get_gateway_url",
    }
)
HOOKS = frozenset(
    {
        "create_state",
        "on_create",
        "create_vars",
        "on_wake",
        "run",
        "on_sleep",
        "on_destroy",
        "on_before_connect",
        "create_conn_state",
        "on_connect",
        "on_disconnect",
        "on_request",
        "on_websocket",
        "on_state_change",
        "on_before_action_response",
        "migrate_state",
    }
)
OPTIONS = frozenset(
    {
        "sleep_timeout_s",
        "no_sleep",
        "action_timeout_s",
        "state_schema_version",
        "interleave",
        "reentrant",
        "durability",
        "mailbox_max",
        "hibernate_connections",
        "hibernate_websockets",
        "state_ttl_s",
    }
)
