"""The page for Prometheus: every counter by its name, totals that never fall."""

from prometheus_client.parser import text_string_to_metric_families

from relay.admin.health import State
from relay.admin.metrics import render
from relay.audit.record import FIELDS
from relay.net.label_table import LABELLED
from relay.net.tally import COUNTERS, Tally


def figures(tally, state):
    page = render(tally, state).decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_all_workers_count_together():
    tally = Tally(2)
    tally.row(0).count("delivered", 3)
    tally.row(1).count("delivered", 4)
    tally.row(1).connection_opened("192.0.2.1")
    found = figures(tally, State(ready_workers=2, wanted_workers=2, generation=1))
    assert found["gatepost_delivered_total"] == 7
    assert found["gatepost_sessions"] == 1
    assert (found["gatepost_up"], found["gatepost_workers_ready"]) == (1, 2)


def test_totals_go_on_when_a_worker_dies_and_what_is_open_goes_with_it():
    tally = Tally(2)
    row = tally.row(0)
    row.connection_opened("192.0.2.1")
    row.count("rejected", 5)
    tally.wipe(0)
    found = figures(tally, State())
    assert found["gatepost_rejected_total"] == 5
    assert found["gatepost_connections_total"] == 1
    assert found["gatepost_sessions"] == found["gatepost_memory_bytes"] == 0
    assert found["gatepost_up"] == 0


def test_every_counter_has_a_figure_and_words():
    page = render(Tally(1), State()).decode()
    for name, meaning in COUNTERS.items():
        assert f"gatepost_{name}" in page
        assert meaning in page


def test_labels_are_those_of_the_audit_records():
    assert {label for each in LABELLED.values() for label in each.labels} <= set(FIELDS)


def test_counters_with_labels_have_a_figure_for_each():
    tally = Tally(2)
    tally.row(0).count_by("handshakes", "partners", "TLSv1.3", "revoked")
    tally.row(1).count_by("handshakes", "partners", "TLSv1.3", "revoked")
    tally.row(1).tell("next_hops_failing", "*", "mx:25", value=1)
    page = render(tally, State()).decode()
    assert (
        'gatepost_handshakes_total{listener="partners",status="revoked",tls_version="TLSv1.3"} 2.0'
        in page
    )
    assert 'gatepost_next_hops_failing{next_hop="mx:25",route="*"} 1.0' in page


def test_the_times_of_deliveries_are_a_histogram():
    tally = Tally(1)
    for seconds in (0.004, 0.02, 0.02, 99):
        tally.row(0).delivery_took(seconds)
    page = render(tally, State()).decode()
    for line in (
        'gatepost_delivery_seconds_bucket{le="0.005"} 1.0',
        'gatepost_delivery_seconds_bucket{le="0.025"} 3.0',
        'gatepost_delivery_seconds_bucket{le="30.0"} 3.0',
        'gatepost_delivery_seconds_bucket{le="+Inf"} 4.0',
        "gatepost_delivery_seconds_count 4.0",
    ):
        assert line in page
