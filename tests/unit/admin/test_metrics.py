"""The page for Prometheus: every counter by its name, totals that never fall."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from relay.admin.health import State
from relay.admin.metrics import render
from relay.audit.record import FIELDS
from relay.inventory import Posture
from relay.net.label_table import LABELLED
from relay.net.tally import COUNTERS, Tally
from relay.pki.posture import HeldListDates, Kind, Use, Used
from tests.kit.pki import Authority


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


def test_the_posture_is_told_in_gauges():
    authority = Authority("Root")
    early, late = (authority.issue(days=days).certificates[0] for days in (10, 20))
    used = [Used(Use.LISTENER, "edge.pem", late), Used(Use.LISTENER, "edge.pem", early)]
    lists = (HeldListDates("CN=Root", early.not_after),)
    posture = Posture({Kind.EXPIRED: 2}, {"active": 3}, tuple(used), lists)
    page = render(Tally(1), State(), posture).decode()
    end = early.not_after.timestamp()
    for name, labels, value in (
        ("gatepost_flaws", {"kind": "expired"}, 2),
        ("gatepost_identities", {"state": "active"}, 3),
        (
            "gatepost_certificate_expire_time_seconds",
            {"use": "listener", "name": "edge.pem"},
            end,
        ),
        ("gatepost_revocation_list_next_update_time_seconds", {"issuer": "CN=Root"}, end),
    ):
        (found,) = (each for each in samples(page) if each.name == name)
        assert (found.labels, found.value) == (labels, value)


def test_of_very_many_certificates_the_nearest_ends_are_told():
    (certificate,) = Authority("Root").issue().certificates
    used = tuple(Used(Use.CLIENT_CA, f"CN={number}", certificate) for number in range(500))
    page = render(Tally(1), State(), Posture({}, {}, used, ())).decode()
    name = "gatepost_certificate_expire_time_seconds"
    assert sum(each.name == name for each in samples(page)) == 200


def samples(page):
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


def test_every_figure_is_in_the_manual():
    posture = Posture(dict.fromkeys(Kind, 0), {}, (), ())
    families = text_string_to_metric_families(render(Tally(1), State(), posture).decode())
    manual = (Path(__file__).parents[3] / "docs/metrics.md").read_text()
    names = {
        f"{each.name}_total" if each.type == "counter" else each.name for each in families
    } | set(Kind)
    assert {name for name in names if f"`{name}`" not in manual} <= {"gatepost_build"}
