"""Counters with labels: found by text, kept apart, and bounded whatever is counted."""

import os

import pytest

from relay.net.label_table import LABELLED, OTHER, TABLE_BYTES, LabelTable
from relay.net.tally import SECONDS, Tally


def table():
    return LabelTable(memoryview(bytearray(TABLE_BYTES)))


def counted(tally, *key):
    return tally.labelled(key[0]).get(key[1:], 0)


def test_labels_of_all_workers_are_added_up_by_their_text():
    tally = Tally(2)
    first, second = tally.row(0), tally.row(1)
    first.count_by("refusals", "trust")
    first.count_by("refusals", "banned")
    second.count_by("refusals", "banned")  # in another place than the first worker's
    second.count_by("handshakes", "partners", "TLSv1.3", "pinned")
    assert tally.labelled("refusals") == {("trust",): 1, ("banned",): 2}
    assert tally.labelled("handshakes") == {("partners", "TLSv1.3", "pinned"): 1}
    assert tally.labelled("deliveries") == {}


@pytest.mark.parametrize("name", LABELLED)
def test_more_labels_than_places_are_counted_together(name):
    tally = Tally(1)
    row = tally.row(0)
    labels, places = LABELLED[name].labels, LABELLED[name].places
    for number in range(places + 50):
        row.count_by(name, *(f"{label}{number}" for label in labels))
    found = tally.labelled(name)
    assert len(found) == places
    assert found[OTHER,] == 51 if len(labels) == 1 else found[(OTHER,) * len(labels)] == 51
    assert sum(found.values()) == places + 50
    row.count_by(name, *(f"{label}0" for label in labels))
    assert counted(tally, name, *(f"{label}0" for label in labels)) == 2


def test_one_counter_that_is_full_takes_nothing_of_the_others():
    tally = Tally(1)
    row = tally.row(0)
    for number in range(LABELLED["refusals"].places + 5):
        row.count_by("refusals", f"rule{number}")
    row.count_by("deliveries", "*", "delivered")
    assert tally.labelled("deliveries") == {("*", "delivered"): 1}


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        ("ä" * 200, "ä" * 58),
        ("a\x1fb", "a b"),
        ("", ""),
        ("\ud800", "?"),
    ],
)
def test_a_label_of_any_text_fits(label, kept):
    tally = Tally(1)
    tally.row(0).count_by("refusals", label)
    assert tally.labelled("refusals") == {(kept,): 1}


def test_long_labels_leave_room_for_one_another():
    tally = Tally(1)
    tally.row(0).count_by("deliveries", "a" * 253, "delivered")
    ((route, outcome),) = tally.labelled("deliveries")
    assert outcome == "delivered"
    assert route == "a" * 58


def test_totals_stay_when_a_worker_dies_and_what_it_said_of_now_goes():
    tally = Tally(2)
    for _ in range(2):
        row = tally.row(1)
        row.count_by("refusals", "trust")
        row.tell("next_hops_failing", "*", "mx:25", value=1)
        row.delivery_took(0.3)
        tally.wipe(1)
    assert tally.labelled("refusals") == {("trust",): 2}
    assert tally.labelled("next_hops_failing") == {}
    assert sum(tally.times().counts) == 2


def test_what_is_told_of_now_replaces_what_was_told():
    tally = Tally(2)
    for slot in range(2):
        tally.row(slot).tell("next_hops_failing", "*", "mx:25", value=1)
    assert counted(tally, "next_hops_failing", "*", "mx:25") == 2
    tally.row(0).tell("next_hops_failing", "*", "mx:25", value=0)
    assert counted(tally, "next_hops_failing", "*", "mx:25") == 1


def test_what_a_forked_worker_counts_the_parent_reads():
    tally = Tally(2)
    pid = os.fork()
    if pid == 0:
        tally.row(1).count_by("refusals", "trust")
        os._exit(0)
    os.waitpid(pid, 0)
    assert tally.labelled("refusals") == {("trust",): 1}


def test_half_written_labels_are_left_out_until_they_are_whole():
    made = table()
    made.counts[made.place(("deliveries", "*", "delivered"))] = 3
    memory = made.counts.cast("B")
    seen = memory.tobytes()
    start = seen.index(b"*\x1fdelivered") - 2
    memory[start : start + 2] = b"\0\0"
    assert list(made.samples("deliveries")) == []
    memory[start : start + 2] = seen[start : start + 2]
    assert list(made.samples("deliveries")) == [(("*", "delivered"), 3)]


@pytest.mark.parametrize(
    ("seconds", "place"),
    [(0.0, 0), (0.005, 0), (0.0051, 1), (30.0, len(SECONDS) - 1), (31.0, len(SECONDS))],
)
def test_times_are_counted_up_to_and_with_each_bound(seconds, place):
    tally = Tally(1)
    tally.row(0).delivery_took(seconds)
    counts, total = tally.times()
    assert [index for index, count in enumerate(counts) if count] == [place]
    assert total == pytest.approx(seconds, abs=1e-6)
