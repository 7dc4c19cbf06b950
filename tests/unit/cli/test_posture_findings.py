"""`gatepost check` on trust: CAs, issued certificates, lists, and who has not come for long."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from relay.ca_folder import CaFolder
from relay.cli import posture_findings
from relay.cli.posture_findings import find_posture
from relay.config import load
from relay.inventory import measure, take_stock
from relay.material import load_material
from relay.pki.posture import Kind, Use
from relay.renewal import renew
from relay.revocation.folder import CrlFolder
from relay.revocation.intake import take_crls
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl

PARTNER = Authority("Partner Root")


def add_partner(site, mode="soft", table=""):
    """Have the listener know clients of a foreign CA, too."""
    (site.folder / "partner.pem").write_bytes(PARTNER.pem)
    text = site.configuration.read_text()
    old = 'client_ca = ["ca/root.pem"]'
    assert text.count(old) == 1
    new = f'client_ca = ["ca/root.pem", "partner.pem"]\nrevocation = "{mode}"'
    site.configuration.write_text(text.replace(old, new) + table)


def material_of(site):
    return load_material(load(site.configuration, {}))


def problems(site, now=None, unused_days=90):
    found = list(find_posture(material_of(site), now or datetime.now(UTC), unused_days))
    assert all(each.remedy for each in found)
    return [each.problem for each in found]


def write_trail(site, *records):
    path = material_of(site).settings.audit.path
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(each, separators=(",", ":")) for each in records]
    path.write_text("".join(f"{each}\n" for each in lines) + '{"torn')


def handshake(days_ago, **fields):
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return {"time": at.isoformat(), "kind": "handshake", **fields}


def test_a_new_site_has_nothing_to_be_told(site):
    assert problems(site) == []


def test_our_ca_and_what_it_has_issued_end(site):
    later = datetime.now(UTC) + timedelta(days=4000)
    found = problems(site, later)
    assert any(each.startswith("CN=Gatepost CA of edge.example.com expired on") for each in found)
    assert any(each.startswith('the certificate of "first" expired on') for each in found)


def test_of_a_succession_of_keys_the_last_certificate_counts(site):
    renew(
        CaFolder(site.folder / "ca"),
        site.folder / "clients/first.pem",
        site.folder / "clients/first.key",
        site.allowlist,
        lifetime=timedelta(days=3000),
    )
    later = datetime.now(UTC) + timedelta(days=700)  # the first certificate has ended long ago
    assert not any('"first"' in each for each in problems(site, later))


def test_who_is_not_let_in_any_more_has_no_certificate_to_be_renewed(site):
    site.allowlist.write_text("")
    later = datetime.now(UTC) + timedelta(days=4000)
    assert not any('"first"' in each for each in problems(site, later))


@pytest.mark.parametrize(
    ("mode", "table", "said"),
    [
        ("soft", "", True),
        ("hard", "", True),
        ("off", "", False),
        (
            "soft",
            '[[revocation.authority]]\ncertificate = "partner.pem"\ncrl_urls = ["http://x.example/"]\n',
            False,
        ),
        ("hard", '[[revocation.authority]]\ncertificate = "partner.pem"\nmode = "off"\n', False),
    ],
)
def test_a_ca_without_anything_to_ask(site, mode, table, said):
    add_partner(site, mode, table)
    found = [each for each in problems(site) if "CN=Partner Root is revoked" in each]
    assert bool(found) is said
    assert all(("deferred" in each) == (mode == "hard") for each in found)


def test_a_list_on_disk_is_a_source_and_goes_stale(site):
    add_partner(site)
    folder = CrlFolder(material_of(site).settings.state_dir / "crl")
    folder.prepare()
    take_crls(make_crl(PARTNER), [PARTNER.certificate], folder, NOW)
    assert problems(site) == []
    (found,) = (
        each for each in problems(site, NOW + timedelta(days=8)) if "revocation list" in each
    )
    assert found.startswith("the revocation list of CN=Partner Root counted until")


def test_who_has_not_come_is_told_if_the_trail_goes_back_so_far(site):
    write_trail(site, handshake(100, status="absent"), handshake(95, identity="first"))
    assert '"first": has not come for 90 days' in problems(site)
    assert problems(site, unused_days=97) == []
    write_trail(site, handshake(100, status="absent"), handshake(5, identity="first"))
    assert problems(site) == []
    write_trail(site, handshake(80, status="absent"))
    assert problems(site) == []


def test_who_came_with_a_servers_certificate_is_told(site):
    write_trail(site, handshake(5, identity="first", status="wrong_usage"))
    assert any("not for clients, and was refused" in each for each in problems(site))
    write_trail(
        site,
        handshake(5, identity="first", status="wrong_usage"),
        handshake(4, identity="first", status="pinned"),
    )
    assert problems(site) == []


def test_who_is_known_by_a_name_of_a_public_ca_depends_on_client_auth(site, monkeypatch):
    add_partner(site, "off")
    site.allowlist.write_text('[[identity]]\nname = "named"\nnames = ["dns:a.example"]\n')
    assert problems(site) == []
    monkeypatch.setattr(posture_findings, "read_system_store", lambda: [PARTNER.certificate])
    (found,) = problems(site)
    assert found.startswith('"named": known by name only, of a public CA')


def test_the_metrics_say_the_same(site):
    add_partner(site, "hard")
    ends = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    with site.allowlist.open("a") as file:
        file.write(
            f'[[identity]]\nname = "ending"\npins = ["spki:sha256:{"0" * 64}"]\nnot_after = {ends}\n'
            f'[[identity]]\nname = "away"\npins = ["spki:sha256:{"1" * 64}"]\n'
            'suspended = { reason = "away" }\n'
        )
    material, now = material_of(site), datetime.now(UTC)
    posture = measure(take_stock(material, CaFolder(site.folder / "ca"), now), material, now)
    assert {kind: number for kind, number in posture.flaws.items() if number} == {
        Kind.IDENTITY_ENDING: 1,
        Kind.NO_REVOCATION_SOURCE: 2,  # under hard our own CA needs one, too
    }
    assert posture.identities == {"active": 2, "suspended": 1, "ended": 0}
    uses = {each.use for each in posture.certificates}
    assert {Use.LISTENER, Use.CLIENT_CA, Use.CA} <= uses


def test_an_allowlist_that_is_broken_on_disk_leaves_the_one_in_force(site):
    material, now = material_of(site), datetime.now(UTC)
    site.allowlist.write_text("[[")
    ca = CaFolder(site.folder / "ca")
    assert take_stock(material, ca, now).allowlist is material.allowlist
