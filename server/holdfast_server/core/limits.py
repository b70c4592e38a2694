"""Every limit of the runtime: name, unit, default and what happens at it.

Nothing in Holdfast grows without one of these. Names end in their unit: `_max`
counts things, `_bytes_max` bytes, `_s` seconds. `config.py` reads each from the
environment as HOLDFAST_<NAME> and from the command line as --<name>.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits with their defaults; see the comment of each for what it guards."""

    # Keys and names (a request beyond is refused: REQUEST_INVALID).
    key_parts_max: int = 32
    key_part_bytes_max: int = 128
    key_bytes_max: int = 1024
    idempotency_key_bytes_max: int = 255
    page_size_max: int = 1000

    # Payloads. Beyond: MESSAGE_INCOMING_TOO_LONG, MESSAGE_OUTGOING_TOO_LONG.
    payload_bytes_max: int = 1 << 20
    input_bytes_max: int = 4 << 20

    # State. Beyond: STATE_TOO_LARGE and the turn is rolled back.
    state_bytes_max: int = 1 << 20

    # KV, per actor. Beyond: KV_KEY_TOO_LARGE, KV_VALUE_TOO_LARGE,
    # KV_BATCH_TOO_LARGE, KV_STORAGE_FULL.
    kv_key_bytes_max: int = 2048
    kv_value_bytes_max: int = 128 << 10
    kv_batch_keys_max: int = 128
    kv_batch_bytes_max: int = 976 << 10
    kv_list_max: int = 16384
    kv_storage_bytes_max: int = 1 << 30
    # Bytes of entries in one answer of KvService: clients refuse messages over
    # 4 MiB by default. A page ends there; GetKvEntries beyond is refused with
    # MESSAGE_OUTGOING_TOO_LONG.
    kv_read_bytes_max: int = 2 << 20

    # One turn: bytes of what it writes to KV, and of its events. Beyond: KV_BATCH_TOO_LARGE,
    # EVENT_TOO_LARGE.
    turn_bytes_max: int = 16 << 20

    # Mailbox of one actor: calls that wait. Beyond: ACTOR_OVERLOADED.
    mailbox_max: int = 1000
    # Read-only turns of one actor that run at once. Beyond: ACTOR_OVERLOADED.
    read_only_max: int = 1000

    # Actors in memory. Beyond: the longest idle are evicted; when all are busy,
    # SERVER_OVERLOADED.
    activations_max: int = 1_000_000
    # Calls and streams in progress in the whole server. Beyond: SERVER_OVERLOADED.
    calls_max: int = 20_000

    # Actions, and classes of actors, that have names of their own in metrics. Beyond: they
    # are counted together, as "other".
    metrics_actions_max: int = 200

    # Health watches open at once. Beyond: SERVER_OVERLOADED.
    health_watches_max: int = 1000

    # Stored replies, per actor key. Beyond: IDEMPOTENCY_TABLE_FULL.
    replies_max: int = 10_000
    replies_bytes_max: int = 64 << 20
    # How long an SDK client's replies outlive its last call, and a user's key.
    reply_client_ttl_s: float = 600.0
    reply_key_ttl_s: float = 86_400.0
    # SDK clients remembered in memory. Beyond: the longest silent are handled
    # as silent since then; their rows still live reply_client_ttl_s.
    reply_clients_max: int = 100_000

    # Outbox of one actor. Beyond: OUTBOX_FULL and the turn is rolled back.
    outbox_rows_max: int = 10_000
    outbox_bytes_max: int = 64 << 20
    # Sends in flight at once in the whole server; others wait on disk.
    outbox_in_flight_max: int = 256
    # Lanes (a sender and a target) at work at once; others wait on disk.
    outbox_lanes_max: int = 4096
    # Tries of one send before it is dead-lettered, and the backoff between.
    outbox_attempts_max: int = 10
    outbox_backoff_s: float = 0.2
    outbox_backoff_max_s: float = 300.0
    # Dead letters kept per actor; the oldest is dropped and logged beyond.
    outbox_dead_max: int = 1000

    # Events kept for replay, per actor: whichever is reached first; the oldest go. A
    # declared event may be kept for another time.
    event_retention_s: float = 3600.0
    events_max: int = 10_000
    events_bytes_max: int = 1 << 20
    # One event or message, encoded, and all that one turn emits. Beyond: EVENT_TOO_LARGE
    # and the turn is rolled back.
    event_bytes_max: int = 1 << 20
    turn_events_max: int = 10_000
    # Names in the filter of one subscription (beyond: REQUEST_INVALID), and distinct
    # names that wait for a conflating subscriber. Beyond: the oldest is dropped.
    event_names_max: int = 100
    # All names in the filter of one subscription. Beyond: REQUEST_INVALID.
    event_filter_bytes_max: int = 16 << 10
    # Subscribers of one actor. Beyond: TOO_MANY_CONNECTIONS.
    subscribers_max: int = 100_000
    # Events that a subscriber may lag. Beyond: SUBSCRIBER_TOO_SLOW.
    subscription_lag_max: int = 10_000
    # Bytes on their way to one subscriber or connection that grants no credit of its own.
    subscription_window_bytes: int = 256 << 10

    # Connections of one actor. Beyond: TOO_MANY_CONNECTIONS.
    connections_max: int = 100_000
    # Connection parameters. Beyond: MESSAGE_INCOMING_TOO_LONG.
    params_bytes_max: int = 4096
    # State of one connection, encoded. Beyond: STATE_TOO_LARGE.
    connection_state_bytes_max: int = 64 << 10
    # Messages to one connection that it has not acknowledged. Beyond: the oldest go, and
    # the client sees the gap.
    connection_messages_max: int = 1000
    connection_messages_bytes_max: int = 1 << 20
    # How long a connection outlives its broken session or a restart of the server. Beyond:
    # on_disconnect runs.
    connection_grace_s: float = 30.0

    # Sessions open at once. Beyond: SERVER_OVERLOADED.
    sessions_max: int = 10_000
    # Streams of one session: calls, connections and subscriptions. Beyond:
    # SESSION_TOO_MANY_STREAMS.
    session_streams_max: int = 20_000
    # A command or answer above this travels in chunks.
    session_chunk_bytes: int = 64 << 10
    # Bytes of unfinished chunked commands of one session. Beyond: SESSION_INVALID.
    session_chunks_bytes_max: int = 16 << 20
    # Bytes of answers that wait for a session's transport. Beyond: it is no longer read,
    # until they leave; a session that takes nothing for session_stall_s ends.
    session_send_bytes_max: int = 8 << 20
    session_stall_s: float = 30.0
    # Silence of a client after which its session counts as broken; clients ping more often.
    session_idle_s: float = 60.0

    # HTTP connections open at once, WebSockets among them. Beyond: SERVER_OVERLOADED, then
    # closed.
    http_connections_max: int = 20_000
    # Bytes of a request's first line and of each header, and the number of headers. Beyond:
    # REQUEST_INVALID. Parameters of connections travel in a header, escaped.
    http_header_bytes_max: int = 64 << 10
    http_headers_max: int = 128
    # How long the head of a request, or a TLS handshake, may take from its first byte, and
    # a body after the head, or each part of one that an actor reads itself. Beyond:
    # DEADLINE_EXCEEDED, then closed.
    http_header_timeout_s: float = 15.0
    http_body_timeout_s: float = 60.0
    # How long the reader of an answer in parts may take nothing. Beyond: it is cut off.
    http_stall_s: float = 30.0
    # Silence of a connection between two requests. Beyond: closed.
    http_idle_s: float = 75.0

    # Between two pings to a silent WebSocket, which is closed when no answer comes in half
    # that time.
    websocket_ping_s: float = 30.0
    # Actions under way on one WebSocket. Beyond: SERVER_OVERLOADED; nothing ran.
    websocket_calls_max: int = 1000
    # Body of a raw HTTP request. Beyond: MESSAGE_INCOMING_TOO_LONG.
    request_bytes_max: int = 20 << 20
    # A body whose length is told and is not above this is read before its turn begins.
    # Beyond: each part that the handler waits for ends its turn.
    request_buffer_bytes: int = 1 << 20
    # Body of a raw HTTP response, or one part of a streamed one. Beyond:
    # MESSAGE_OUTGOING_TOO_LONG.
    response_bytes_max: int = 20 << 20
    # Bytes that wait for the reader of one event stream. Beyond: the stream is cut.
    event_stream_bytes_max: int = 1 << 20
    # Raw WebSockets open at once. Beyond: SERVER_OVERLOADED.
    websockets_max: int = 20_000
    # One message of a raw WebSocket. Beyond: it is closed with 1009, or, going out,
    # MESSAGE_OUTGOING_TOO_LONG.
    websocket_message_bytes_max: int = 16 << 20
    # Bytes of messages that wait for a handler. Beyond: the socket is not read until it
    # has taken some.
    websocket_receive_bytes_max: int = 1 << 20
    # Bytes of messages that wait for a socket's client. Beyond: the handler gets no
    # further message, and a message of another turn closes the socket with 1013; so does
    # a client that takes nothing for websocket_stall_s. Of a connection: its WebSocket is not
    # read until some have left, and a client that takes nothing is cut off.
    websocket_send_bytes_max: int = 1 << 20
    websocket_stall_s: float = 30.0

    # Threads for @action(thread=True). Beyond: the turn waits for one.
    action_threads_max: int = 32

    # How long a commit waits at most for others to share its sync with; 0: never.
    commit_wait_s: float = 0.01

    # Time limits of hooks, and of a turn whose action and class name none.
    hook_timeout_s: float = 5.0
    action_timeout_s: float = 60.0
    # Idle time after which an activation leaves memory, where its class names none.
    sleep_timeout_s: float = 30.0
    # How long on_sleep, run, wait_until and keep_awake work may take together once an
    # actor goes to sleep or is destroyed. Beyond: they are cancelled and logged.
    sleep_grace_s: float = 15.0
    # Tasks of c.keep_awake and c.wait_until of one actor. Beyond: ACTOR_OVERLOADED.
    background_tasks_max: int = 1000
    # Memory of awake actors, estimated from their encoded states. Beyond: the longest idle
    # go to sleep.
    activations_bytes_max: int = 1 << 30
    # A handler that holds the loop this long is logged with its stack.
    loop_block_warn_s: float = 0.5
    # How long drain waits for running turns.
    drain_timeout_s: float = 25.0
    # How long stop waits for the last spans to leave. Beyond: they are lost.
    trace_flush_timeout_s: float = 5.0
    # How long drain lets streams go on; then each ends at its next item.
    drain_streams_s: float = 10.0
    # The longest wait before a supervised server that keeps dying is started again.
    restart_wait_s: float = 5.0
    # Memory and files of RocksDB: cached data, index and filter blocks; each of at most
    # three write buffers; open table files; the log, which a start has to replay.
    block_cache_bytes_max: int = 64 << 20
    write_buffer_bytes_max: int = 32 << 20
    open_files_max: int = 512
    wal_bytes_max: int = 128 << 20
    # Between two tries to reopen a failed store, and how long a call waits for the
    # first try. Beyond, and after a try that failed: STORE_UNAVAILABLE.
    store_reopen_s: float = 0.5
    store_wait_s: float = 1.0

    # Schedules of one actor, one-shot and recurring. Beyond: MAX_SCHEDULES_EXCEEDED.
    schedules_max: int = 1000
    # Arguments of one schedule, encoded. Beyond: MESSAGE_INCOMING_TOO_LONG.
    schedule_args_bytes_max: int = 64 << 10
    # The shortest interval of c.cron.every. Beyond: SCHEDULE_INVALID_INTERVAL.
    schedule_interval_min_s: float = 5.0
    # Runs kept of one recurring schedule, and of all of one actor together. Beyond:
    # SCHEDULE_INVALID_MAX_HISTORY.
    schedule_history_max: int = 1000
    schedule_history_actor_max: int = 10_000
    # Missed ticks that `missed="run_all"` may run. Beyond: SCHEDULE_INVALID_POLICY.
    schedule_catch_up_max: int = 1000
    # Dead letters of schedules kept per actor; the oldest is dropped and logged beyond.
    schedule_dead_max: int = 1000
    # Lateness from which a tick counts as missed.
    schedule_late_s: float = 60.0
    # Actors whose timers fire at once in the whole server; others wait on disk.
    timers_in_flight_max: int = 256
    # Tries of one fire before it is given up, and the backoff between; a schedule may
    # say others.
    timer_attempts_max: int = 8
    timer_backoff_s: float = 1.0
    timer_backoff_max_s: float = 300.0
    # The longest time between two looks at the wall clock while timers are pending: how
    # late they fire when it was put forward.
    timer_clock_check_s: float = 10.0
    # Expired KV entries that are deleted at once.
    kv_expire_batch_max: int = 256
