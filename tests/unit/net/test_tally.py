"""The shared tally: every worker writes its own row, everybody sees the sum."""

import os

from relay.net.tally import COUNTERS, Tally


def test_totals_add_up_all_rows():
    tally = Tally(3)
    for slot, count in enumerate((1, 2, 3)):
        tally.row(slot).count("delivered", count)
    assert tally.total("delivered") == 6
    assert tally.snapshot(1) == dict.fromkeys(COUNTERS, 0) | {"delivered": 2}


def test_connections_of_an_address_are_counted_over_all_rows():
    tally = Tally(2)
    first, second = tally.row(0), tally.row(1)
    first.connection_opened("192.0.2.1")
    second.connection_opened("192.0.2.1")
    second.connection_opened("2001:db8::1")
    assert first.connections_from("192.0.2.1") == 2
    assert first.open_connections() == 3
    second.connection_closed("192.0.2.1")
    assert first.connections_from("192.0.2.1") == 1
    assert first.connections_from("198.51.100.7") == 0


def test_the_budget_is_one_for_all_rows():
    tally = Tally(2)
    first, second = tally.row(0), tally.row(1)
    first.memory_budget = second.memory_budget = 100
    assert first.take(60)
    assert not second.take(41)
    assert second.take(40)
    first.give(60)
    assert second.take(60)
    assert tally.total("memory") == 100


def test_a_row_of_a_dead_worker_is_wiped_whole():
    tally = Tally(2)
    row = tally.row(1)
    row.connection_opened("192.0.2.1")
    row.memory_budget = 10
    row.take(10)
    tally.wipe(1)
    assert row.connections_from("192.0.2.1") == 0
    assert tally.snapshot(1) == dict.fromkeys(COUNTERS, 0)


def test_what_a_forked_worker_writes_the_parent_sees():
    tally = Tally(2)
    pid = os.fork()
    if pid == 0:
        tally.row(1).connection_opened("192.0.2.1")
        os._exit(0)
    os.waitpid(pid, 0)
    assert tally.row(0).connections_from("192.0.2.1") == 1


def test_ten_thousand_addresses_are_rarely_taken_for_another():
    tally = Tally(1)
    row = tally.row(0)
    for number in range(10_000):
        row.connection_opened(f"10.0.{number // 256}.{number % 256}")
    counts = [
        row.connections_from(f"10.0.{number // 256}.{number % 256}") for number in range(10_000)
    ]
    assert min(counts) == 1  # never too low
    assert sum(count > 1 for count in counts) < 10_000 * 0.05
    assert max(counts) <= 4
