"""The way into an audience: the actor is found, asked, and then listened to.

Only an actor that guards an event is woken, to be asked whether this caller may
subscribe to it, and one that does not exist is created if the caller says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.events import Subscribe
from holdfast_server.core.limits import Limits
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Encoding
from holdfast_server.runtime.execution import check_target, run_hooks, settle
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.audience import Subscriber
    from holdfast_server.runtime.readers import Reader

# The turn in which an actor is asked.
SUBSCRIBE = "$subscribe"


def check_request(request: Subscribe, limits: Limits) -> None:
    """What can be wrong with a request whatever the actor is."""
    if len(request.names) > limits.event_names_max:
        raise invalid("names", f"has {len(request.names)}", limit=limits.event_names_max)
    size = sum(len(name.encode()) for name in request.names)
    if size > limits.event_filter_bytes_max:
        raise invalid("names", f"has {size} bytes", limit=limits.event_filter_bytes_max)
    if "" in request.names:
        raise invalid("names", "has an empty name")
    if request.encoding == Encoding.PROTOBUF:
        raise HoldfastError(errors.ENCODING_INVALID, "events have no encoding protobuf")


def call_of(request: Subscribe) -> Call:
    """The request as something to be taken in."""
    return Call(
        target=request.target,
        action=SUBSCRIBE,
        deadline=request.deadline,
        trace=request.trace,
    )


async def subscribe(activation: Activation, request: Subscribe, reader: Reader) -> Subscriber:
    """A started subscription; events come to the reader from the next tick on."""
    node = activation.node
    asked = names_to_ask(activation, request)
    if asked or not activation.exists:
        await ask(activation, request, asked)
        # It may have gone to sleep meanwhile, and the actor been destroyed since.
        activation.check_live()
    try:
        if not activation.exists:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        check_target(activation, call_of(request))
        if request.connection is not None:
            # Only with the connection would it end.
            node.links.conn_of(activation, request.connection)
        subscriber = node.audiences.attach(activation.actor_id, request, reader)
    except HoldfastError:
        # What it says of the actor may be news that is not durable yet.
        await node.committer.barrier()
        raise
    try:
        await subscriber.start()
    except BaseException:
        subscriber.close()
        raise
    return subscriber


def names_to_ask(activation: Activation, request: Subscribe) -> list[str]:
    """The guarded events among those that are asked for, which may be all."""
    guarded = activation.info.guarded_events
    return sorted(request.names & guarded if request.names else guarded)


async def ask(activation: Activation, request: Subscribe, names: list[str]) -> None:
    """Start the actor and ask it for each name, beside its turns.

    SUBSCRIPTION_FORBIDDEN with the first name that it refuses.
    """
    node, target = activation.node, request.target
    deadline = node.loop.time() + node.limits.hook_timeout_s
    if request.deadline is not None:
        deadline = min(deadline, request.deadline)
    turn = Turn(activation, Mode.READ_ONLY, deadline, SUBSCRIBE, request.trace)
    turn.auth = request.auth
    try:
        async with activation.holding(turn, None):
            check_target(activation, call_of(request))
            await activation.ensure_started(turn, None, create=target.create, value=target.input)
            turn.begin(activation.instance, activation.actor_id)
            if request.connection is not None:
                turn.conn = node.links.conn_of(activation, request.connection)
            _, durable = await run_hooks(activation, turn, _ask(turn, names, request))
    except HoldfastError as error:
        await settle(activation, turn, error, None)
        raise
    await durable


async def _ask(turn: Turn, names: list[str], request: Subscribe) -> None:
    assert turn.instance is not None
    for name in names:
        if not await turn.instance.can_subscribe(turn, name, request.connection):
            raise HoldfastError(
                errors.SUBSCRIPTION_FORBIDDEN,
                f"the actor does not let this caller subscribe to {name!r}",
                metadata={"event": name},
            )
