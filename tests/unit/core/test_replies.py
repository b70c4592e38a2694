"""The table of stored keys against a plain dict that does the same slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.call import ClientKey, UserKey
from holdfast_server.core.replies import ReplyTable, Verdict

A, B = b"a" * 16, b"b" * 16


def judge(table: ReplyTable, key: ClientKey | UserKey, rows_max: int = 100) -> Verdict:
    return table.judge(key, rows_max=rows_max, bytes_max=10_000)


def test_a_new_key_runs_and_a_stored_one_is_replayed() -> None:
    table = ReplyTable()
    for key in (ClientKey(A, 1, 1), ClientKey(B, 1, 1), UserKey(A, "k")):
        assert judge(table, key) is Verdict.RUN
        table.stored(key, 10)
        assert judge(table, key) is Verdict.REPLAY
    assert (table.rows, table.bytes) == (3, 30)


def test_an_acknowledged_number_never_runs_again() -> None:
    table = ReplyTable()
    table.stored(ClientKey(A, 1, 1), 10)

    assert table.acknowledge(table.client(A), 3) == [1]

    assert judge(table, ClientKey(A, 1, 1)) is Verdict.EXPIRED
    assert judge(table, ClientKey(A, 2, 1)) is Verdict.EXPIRED
    assert judge(table, ClientKey(A, 3, 1)) is Verdict.RUN
    assert judge(table, ClientKey(B, 1, 1)) is Verdict.RUN
    assert (table.rows, table.bytes) == (0, 0)


def test_a_number_below_its_own_acknowledgement_is_refused() -> None:
    assert judge(ReplyTable(), ClientKey(A, 1, 2)) is Verdict.EXPIRED


def test_a_full_table_refuses_new_keys_and_forgets_none() -> None:
    table = ReplyTable()
    table.stored(UserKey(A, "k"), 10)

    assert judge(table, UserKey(A, "other"), rows_max=1) is Verdict.FULL
    assert judge(table, UserKey(A, "k"), rows_max=1) is Verdict.REPLAY
    assert table.judge(UserKey(A, "other"), rows_max=9, bytes_max=10) is Verdict.FULL


def test_a_full_table_takes_a_call_that_makes_room_itself() -> None:
    table = ReplyTable()
    table.stored(ClientKey(A, 1, 1), 10)
    table.stored(ClientKey(A, 2, 1), 10)

    assert judge(table, ClientKey(A, 3, 1), rows_max=2) is Verdict.FULL
    assert judge(table, ClientKey(A, 3, 2), rows_max=2) is Verdict.RUN


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B]),
            st.integers(1, 30),
            st.integers(1, 30),
            st.integers(0, 99),
        ),
        max_size=60,
    )
)
def test_what_is_stored_and_counted_is_what_a_dict_would_hold(
    calls: list[tuple[bytes, int, int, int]],
) -> None:
    table, stored, floors = ReplyTable(), dict[tuple[bytes, int], int](), {A: 0, B: 0}
    for client, number, acknowledged, size in calls:
        key = ClientKey(client, number, min(number, acknowledged))
        expected = Verdict.RUN
        if (client, number) in stored:
            expected = Verdict.REPLAY
        elif number < floors[client]:
            expected = Verdict.EXPIRED
        assert judge(table, key) is expected
        if expected is Verdict.RUN:
            for gone in table.acknowledge(table.client(client), key.acknowledged_below):
                assert gone < key.acknowledged_below
                del stored[(client, gone)]
            floors[client] = max(floors[client], key.acknowledged_below)
            table.stored(key, size)
            stored[(client, number)] = size
    assert (table.rows, table.bytes) == (len(stored), sum(stored.values()))


@given(st.integers(1, 50))
def test_numbers_in_order_go_as_soon_as_they_are_acknowledged(count: int) -> None:
    table = ReplyTable()
    for number in range(1, count + 1):
        table.stored(ClientKey(A, number, 1), 1)

    assert table.acknowledge(table.client(A), count) == list(range(1, count))
    assert table.rows == 1
