"""Every metric of the server: its name, its kind, its labels and what it says.

Names are forever, since dashboards and alerts are written against them. They follow
Prometheus' customs: base units, the unit last, `_total` for what only grows.
`docs/metrics.md` is made from this table.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """What a metric's value is."""

    # A number that only grows, from 0 at the start of the process.
    COUNTER = "counter"
    # A number as it is now.
    GAUGE = "gauge"
    # A Histogram of times, told in seconds.
    SECONDS = "histogram of seconds"
    # A Histogram of whole numbers.
    SIZES = "histogram"
    # Count and sum.
    SUMMARY = "summary"


class Metric(NamedTuple):
    """One metric; `help` is a sentence for people."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_ACTION: Final = ("actor", "action")

_ALL: Final = (
    # The process
    Metric("holdfast_info", Kind.GAUGE, "1; the version that runs.", ("version",)),
    Metric("holdfast_serving", Kind.GAUGE, "1 while calls are taken, 0 while health says no."),
    # Calls
    Metric(
        "holdfast_action_duration_seconds",
        Kind.SECONDS,
        "Calls of an action, from their arrival until their answer may leave, durable; also "
        "those that failed. Of a streaming action: until its end.",
        _ACTION,
    ),
    Metric(
        "holdfast_action_errors_total",
        Kind.COUNTER,
        "Calls of an action that failed, by the reason of the catalogue of errors.",
        (*_ACTION, "reason"),
    ),
    Metric(
        "holdfast_call_errors_total",
        Kind.COUNTER,
        "Calls of any kind that failed or were refused, by reason: those of actions again, and "
        "those that found no action: overload, drain, limits, unknown actors.",
        ("reason",),
    ),
    Metric("holdfast_calls_in_progress", Kind.GAUGE, "Calls and streams that have an actor."),
    Metric(
        "holdfast_rpc_duration_seconds",
        Kind.SECONDS,
        "RPCs over gRPC or Connect by method, also those that failed; streams until their end. "
        "Calls over a session are counted by their action only.",
        ("method",),
    ),
    Metric(
        "holdfast_rpc_errors_total",
        Kind.COUNTER,
        "RPCs that failed, by method and status.",
        ("method", "status"),
    ),
    Metric("holdfast_rpcs_in_progress", Kind.GAUGE, "gRPC calls, calls of sessions, requests."),
    Metric(
        "holdfast_http_request_duration_seconds",
        Kind.SECONDS,
        "Requests to the gateway, until their answer has been written; WebSockets until they "
        "close.",
    ),
    Metric(
        "holdfast_http_requests_total",
        Kind.COUNTER,
        "Requests to the gateway by the status of their answer; 499 where the client hung up.",
        ("status",),
    ),
    Metric(
        "holdfast_replies_replayed_total",
        Kind.COUNTER,
        "Retries that were answered by a stored reply.",
    ),
    Metric(
        "holdfast_replies_joined_total",
        Kind.COUNTER,
        "Retries that were answered by the call with their key that was still under way.",
    ),
    # Turns
    Metric("holdfast_mailbox_waiting", Kind.GAUGE, "Turns that wait for their actor."),
    Metric(
        "holdfast_mailbox_wait_seconds",
        Kind.SECONDS,
        "How long turns waited for their actor; those that had it at once are not counted.",
    ),
    Metric("holdfast_action_threads_busy", Kind.GAUGE, "Threads that run a threaded action."),
    # Commits
    Metric("holdfast_commit_batches_total", Kind.COUNTER, "Batches of turns handed over."),
    Metric("holdfast_commit_pending", Kind.GAUGE, "Batches that are not synced yet."),
    Metric(
        "holdfast_commit_group_batches",
        Kind.SIZES,
        "Batches that one sync made durable together; its count is the number of syncs.",
    ),
    Metric(
        "holdfast_commit_duration_seconds",
        Kind.SECONDS,
        "For each group, from the first batch handed over until it was durable.",
    ),
    Metric("holdfast_sync_duration_seconds", Kind.SECONDS, "Syncs of the write-ahead log."),
    Metric(
        "holdfast_gate_wait_seconds",
        Kind.SUMMARY,
        "How long batches, and so answers and events, waited to be durable.",
    ),
    # The store
    Metric("holdfast_store_available", Kind.GAUGE, "1 while the store can be used."),
    Metric("holdfast_store_failures_total", Kind.COUNTER, "Writes or syncs that failed."),
    Metric("holdfast_store_epoch", Kind.GAUGE, "Grows each time that the store is opened."),
    Metric("holdfast_data_free_bytes", Kind.GAUGE, "Room left on the disk of the data."),
    Metric("holdfast_rocksdb_table_bytes", Kind.GAUGE, "Table files in use."),
    Metric("holdfast_rocksdb_keys", Kind.GAUGE, "Rows, as RocksDB estimates them."),
    Metric("holdfast_rocksdb_files", Kind.GAUGE, "Table files of each level.", ("level",)),
    Metric("holdfast_rocksdb_memtable_bytes", Kind.GAUGE, "Memory of writes in no table file yet."),
    Metric("holdfast_rocksdb_block_cache_bytes", Kind.GAUGE, "Memory of cached blocks."),
    Metric("holdfast_rocksdb_table_reader_bytes", Kind.GAUGE, "Memory of indexes and filters."),
    Metric(
        "holdfast_rocksdb_compaction_pending_bytes",
        Kind.GAUGE,
        "What compactions still have to rewrite.",
    ),
    Metric("holdfast_rocksdb_compactions", Kind.GAUGE, "Compactions that run."),
    Metric("holdfast_rocksdb_flushes", Kind.GAUGE, "Flushes of memory to table files that run."),
    Metric(
        "holdfast_rocksdb_stalls_total",
        Kind.COUNTER,
        "How often writes were slowed down (`delays`) or held (`stops`) since the store was "
        "opened.",
        ("kind",),
    ),
    Metric("holdfast_rocksdb_write_stopped", Kind.GAUGE, "1 while writes are held."),
    Metric(
        "holdfast_rocksdb_delayed_write_rate",
        Kind.GAUGE,
        "Bytes a second to which writes are slowed down; 0 while they are not.",
    ),
    Metric(
        "holdfast_rocksdb_background_errors_total", Kind.COUNTER, "Flushes and such that failed."
    ),
    # Actors
    Metric("holdfast_actors_awake", Kind.GAUGE, "Addresses in memory.", ("actor",)),
    Metric("holdfast_activations_total", Kind.COUNTER, "How many came into memory.", ("actor",)),
    Metric(
        "holdfast_evictions_total",
        Kind.COUNTER,
        "How many left memory: asleep, evicted for room, or dropped with a failed store.",
        ("actor",),
    ),
    Metric("holdfast_actors_created_total", Kind.COUNTER, "Actors created.", ("actor",)),
    Metric("holdfast_actors_destroyed_total", Kind.COUNTER, "Actors destroyed.", ("actor",)),
    Metric("holdfast_actors_sleeping", Kind.GAUGE, "Actors that are being put to sleep."),
    Metric("holdfast_state_bytes", Kind.GAUGE, "Encoded states of the actors in memory."),
    # Events and connections
    Metric("holdfast_events_total", Kind.COUNTER, "Events that were numbered and stored."),
    Metric("holdfast_events_ephemeral_total", Kind.COUNTER, "Ephemeral events."),
    Metric(
        "holdfast_events_trimmed_total",
        Kind.COUNTER,
        "Events that are no longer kept, by age, number or bytes.",
    ),
    Metric(
        "holdfast_events_dropped_total",
        Kind.COUNTER,
        "Ephemeral events that a slow subscriber did not get.",
    ),
    Metric(
        "holdfast_events_conflated_total",
        Kind.COUNTER,
        "Events that a conflating subscriber did not get, for later ones of their names.",
    ),
    Metric(
        "holdfast_subscriptions_ended_total",
        Kind.COUNTER,
        "Subscriptions that the server ended, too slow ones above all.",
    ),
    Metric("holdfast_subscribers", Kind.GAUGE, "Subscriptions to events."),
    Metric("holdfast_audiences", Kind.GAUGE, "Actors that somebody listens to."),
    Metric(
        "holdfast_connections",
        Kind.GAUGE,
        "Connections known here: `attached` to a client, or `waiting` for theirs to come back.",
        ("state",),
    ),
    Metric("holdfast_sessions", Kind.GAUGE, "Sessions of clients."),
    Metric(
        "holdfast_session_unsent_bytes", Kind.GAUGE, "Answers that wait for sessions' transports."
    ),
    Metric("holdfast_http_connections", Kind.GAUGE, "HTTP connections and WebSockets."),
    # Timers and sends
    Metric("holdfast_timers_due", Kind.GAUGE, "Due timers in memory, those that fire among them."),
    Metric("holdfast_timers_in_flight", Kind.GAUGE, "Actors whose timers fire."),
    Metric(
        "holdfast_timers_overdue_seconds",
        Kind.GAUGE,
        "How long the oldest due timer has been due; 0 where none is.",
    ),
    Metric(
        "holdfast_timer_delay_seconds",
        Kind.SECONDS,
        "How late tries of timers began; its count is the number of tries.",
    ),
    Metric("holdfast_timers_failed_total", Kind.COUNTER, "Tries of timers that failed."),
    Metric("holdfast_timers_given_up_total", Kind.COUNTER, "Fires that failed for good."),
    Metric("holdfast_sends_total", Kind.COUNTER, "Sends that took effect."),
    Metric("holdfast_sends_failed_total", Kind.COUNTER, "Tries of sends that failed."),
    Metric("holdfast_sends_dead_total", Kind.COUNTER, "Sends that became dead letters."),
    Metric(
        "holdfast_outbox_lanes",
        Kind.GAUGE,
        "Lanes of the outbox in memory: `working`, or `backing_off` after a failed try.",
        ("state",),
    ),
    # The loop
    Metric(
        "holdfast_loop_lag_seconds",
        Kind.SECONDS,
        "How late the event loop ran a timer, measured four times a second.",
    ),
    Metric(
        "holdfast_loop_blocked_total",
        Kind.COUNTER,
        "How often a handler held the event loop for longer than `loop_block_warn_s`.",
    ),
)

METRICS: Final = {metric.name: metric for metric in _ALL}

# Those of the process itself come from the client library, where the system tells them.
PROCESS: Final = (
    ("process_resident_memory_bytes", "gauge", "Memory of the process."),
    ("process_virtual_memory_bytes", "gauge", "Address space of the process."),
    ("process_cpu_seconds_total", "counter", "CPU time of the process."),
    ("process_open_fds", "gauge", "File descriptors that are open."),
    ("process_max_fds", "gauge", "File descriptors that may be open."),
    ("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970."),
)

# Upper bounds of buckets, as a power of two: in microseconds from 64 µs to 67 s, and in
# whole numbers up to 4,095.
SECONDS_BITS: Final = range(6, 27)
SIZES_BITS: Final = range(1, 13)


def bounds_of(kind: Kind) -> list[tuple[int, float]]:
    """The buckets that are told of a histogram of this kind: bits and upper bound."""
    if kind is Kind.SECONDS:
        return [(bits, (1 << bits) / 1e6) for bits in SECONDS_BITS]
    return [(bits, float((1 << bits) - 1)) for bits in SIZES_BITS]


def cumulated(counts: list[int], kind: Kind) -> list[tuple[float, int]]:
    """Upper bounds and how many values are not above each; the last bound is infinite."""
    buckets, below, place = [], 0, 0
    for bits, bound in bounds_of(kind):
        below += sum(counts[place : bits + 1])
        place = bits + 1
        buckets.append((bound, below))
    return [*buckets, (float("inf"), below + sum(counts[place:]))]
