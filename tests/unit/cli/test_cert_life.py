"""A certificate after it was issued: renewed without a gap, revoked for good, asked whether it is time."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from relay.allowlist_file import add_pins, read_allowlist
from relay.ca_folder import CaFolder
from relay.cli.cert_life import renew_when_due
from relay.errors import ConfigurationError
from relay.pki.certificate import parse_pem_chain
from relay.pki.issuing import Validity
from relay.renewal import subject_of
from tests.kit.command_line import gatepost


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEPOST_CA_PASSPHRASE", raising=False)
    assert gatepost("ca", "init", "--config", tmp_path / "gatepost.toml").code == 0
    return tmp_path


def run(site, *words):
    return gatepost(*words, "--config", site / "gatepost.toml")


def issue(site, *options, name="acme"):
    outcome = run(site, "cert", "issue", name, "--pin", "--senders", "@acme.example", *options)
    assert outcome.code == 0, outcome.errors
    return leaf(site, name)


def leaf(site, name="acme"):
    return parse_pem_chain((site / f"clients/{name}.pem").read_bytes())[0]


def pins(site):
    return read_allowlist(site / "allowlist.toml").find("acme").pins


def pin(certificate):
    return f"spki:sha256:{certificate.spki_sha256}"


# --- renew -----------------------------------------------------------------------------------


def test_a_renewed_certificate_has_a_new_key_and_both_pins_stand(site):
    old = issue(site, "--dns", "a.acme.example", "--days", "30")
    outcome = run(site, "cert", "renew", "acme", "--json")
    assert outcome.code == 0, outcome.errors
    new = leaf(site)
    assert new.spki_sha256 != old.spki_sha256
    assert (new.names, new.subject) == (old.names, old.subject)
    assert new.not_after - new.not_before == old.not_after - old.not_before
    assert pins(site) == (pin(old), pin(new))
    assert outcome.json["identity"] == "acme"
    path = site / "clients/acme.key"
    assert load_pem_private_key(path.read_bytes(), None).public_key() == new.public_key
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_kept_keeps_its_pin(site):
    old = issue(site)
    assert run(site, "cert", "renew", site / "clients/acme.pem", "--reuse-key").code == 0
    assert leaf(site).serial != old.serial
    assert pins(site) == (pin(old),)


def test_the_old_pin_goes_when_the_old_certificate_has_ended(site):
    old = issue(site)
    foreign = f"spki:sha256:{'ab' * 32}"
    add_pins(site / "allowlist.toml", "acme", [foreign])
    run(site, "cert", "renew", "acme")
    path = site / "ca/issued.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0]["not_after"] = "2020-01-01T00:00:00+00:00"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    second = leaf(site)
    outcome = run(site, "cert", "renew", "acme", "--json")
    assert outcome.json["ended_pins"] == [pin(old)]
    assert pins(site) == (foreign, pin(second), pin(leaf(site)))


def test_a_revoked_certificate_is_not_renewed(site):
    issue(site)
    run(site, "cert", "revoke", "acme")
    before = leaf(site)
    outcome = run(site, "cert", "renew", "acme")
    assert (outcome.code, leaf(site)) == (2, before)
    assert "the certificate is revoked; issue a new one" in outcome.errors


def test_a_certificate_of_another_ca_is_not_renewed(site):
    issue(site)
    (site / "ca/issued.jsonl").unlink()
    outcome = run(site, "cert", "renew", "acme")
    assert outcome.code == 2
    assert "not a certificate of this CA" in outcome.errors


def test_short_lives_are_counted_in_hours(site):
    made = issue(site, "--hours", "6")
    assert timedelta(hours=6) <= made.not_after - made.not_before <= timedelta(hours=6.1)


def test_the_hook_runs_after_a_renewal(site):
    issue(site)
    run(site, "cert", "renew", "acme", "--exec", f"touch {site / 'done'}")
    assert (site / "done").exists()


def test_the_daemon_renews_at_two_thirds_of_life_and_not_before(site):
    made = issue(site, "--days", "9")
    clock = [made.not_before]
    renewed = []

    def sleep(seconds):
        clock[0] += timedelta(seconds=seconds)

    renew_when_due(
        site / "clients/acme.pem", lambda: renewed.append(clock[0]), sleep, lambda: clock[0]
    )
    share = (renewed[0] - made.not_before) / (made.not_after - made.not_before)
    assert 0.6 < share <= 0.667


def test_the_daemon_pauses_however_short_a_life_is(site):
    made = issue(site, "--days", "9")
    slept = []
    renew_when_due(site / "clients/acme.pem", lambda: None, slept.append, lambda: made.not_after)
    assert slept == [5]


@pytest.mark.parametrize("seconds", [15, 299, 301, 3600])
def test_a_life_shorter_than_clocks_differ_is_kept(site, seconds):
    """Certificates are backdated by five minutes; that is no part of their life."""
    old = issue(site)
    ca = CaFolder(site / "ca")
    now = datetime.now(UTC).replace(microsecond=0)
    key = load_pem_private_key((site / "clients/acme.key").read_bytes(), None).public_key()
    start = now - timedelta(minutes=5 if seconds > 300 else 0)
    short = ca.issue(subject_of(old), key, Validity(start, start + timedelta(seconds=seconds)))
    (site / "clients/acme.pem").write_bytes(short.x509.public_bytes(Encoding.PEM))
    assert run(site, "cert", "renew", "acme").code == 0
    left = (leaf(site).not_after - now).total_seconds()
    expected = seconds - 300 if seconds > 300 else seconds
    assert expected <= left <= expected + 5


def test_the_daemon_says_what_fails_and_waits_before_it_tries_again(site, capsys):
    issue(site)
    slept = []

    def fails():
        raise ConfigurationError("the CA has expired", remedy="make a new one")

    renew_when_due(
        site / "clients/acme.pem",
        fails,
        slept.append,
        lambda: datetime.now(UTC) + timedelta(days=80),
    )
    assert slept == [300]
    assert "the CA has expired" in capsys.readouterr().err


# --- needs-renewal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "options", "code"),
    [
        ("acme", [], 1),
        ("acme", ["--expires-in", "0%"], 0),
        ("acme", ["--expires-in", "9999h"], 0),
        ("acme", ["--expires-in", "1h"], 1),
        ("acme", ["--expires-in", "soon"], 255),
        ("nobody.pem", [], 2),
        ("ca/root.key", [], 255),
    ],
)
def test_the_exit_code_says_whether_to_renew(site, what, options, code):
    issue(site)
    what = site / what if "/" in what else what
    assert run(site, "cert", "needs-renewal", what, *options).code == code


# --- revoke ----------------------------------------------------------------------------------


def crl(site, name="crl.der"):
    return x509.load_der_x509_crl((site / "ca" / name).read_bytes())


def number(found):
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_a_revocation_is_recorded_and_published_at_once(site):
    made = issue(site)
    outcome = run(site, "cert", "revoke", "acme", "--reason", "keyCompromise", "--json")
    assert outcome.code == 0, outcome.errors
    entry = crl(site).get_revoked_certificate_by_serial_number(int(made.serial, 16))
    assert (
        entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        == "keyCompromise"
    )
    (record,) = map(json.loads, (site / "ca/revoked.jsonl").read_text().splitlines())
    assert (record["serial"], record["name"], record["reason"]) == (
        made.serial,
        "acme",
        "keyCompromise",
    )
    assert record["by"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(record["at"])) < timedelta(minutes=1)
    assert pins(site) == (pin(made),)
    assert run(site, "cert", "list", "--json").json[0]["revoked_at"] == record["at"]


def test_one_of_two_is_revoked_by_its_serial_number(site):
    first = issue(site)
    run(site, "cert", "renew", "acme")
    serial = ":".join([first.serial[i : i + 2] for i in range(0, len(first.serial), 2)]).upper()
    assert (
        run(site, "cert", "revoke", serial if len(first.serial) % 2 == 0 else first.serial).code
        == 0
    )
    assert [each.serial_number for each in crl(site)] == [int(first.serial, 16)]


def test_a_name_stands_for_all_its_valid_certificates(site):
    issue(site)
    run(site, "cert", "renew", "acme")
    assert len(run(site, "cert", "revoke", "acme", "--json").json["revoked"]) == 2
    again = run(site, "cert", "revoke", "acme")
    assert (again.code, "revoked already" in again.errors) == (2, True)


def test_nobody_is_revoked_by_an_unknown_name(site):
    outcome = run(site, "cert", "revoke", "nobody")
    assert (outcome.code, "was issued" in outcome.errors) == (2, True)
    assert not (site / "ca/crl.der").exists()


def test_the_issuing_ca_itself_is_revoked_on_the_roots_list(site):
    issuing = CaFolder(site / "ca").issuing_certificate()
    assert run(site, "cert", "revoke", issuing.serial).code == 0
    assert [each.serial_number for each in crl(site, "root-crl.der")] == [int(issuing.serial, 16)]
    assert len(crl(site)) == 0


# --- ca crl, ca ocsp -------------------------------------------------------------------------


def test_numbers_of_lists_grow_even_if_a_list_is_lost(site):
    run(site, "ca", "crl")
    numbers = [number(crl(site))]
    run(site, "ca", "crl")
    numbers.append(number(crl(site)))
    assert numbers[1] > numbers[0]
    (site / "ca/crl.der").unlink()
    run(site, "ca", "crl", "--days", "3")
    assert number(crl(site)) >= numbers[0]
    assert crl(site).next_update_utc - crl(site).last_update_utc == timedelta(days=3)


def test_the_roots_list_stays_while_its_key_is_elsewhere(site):
    run(site, "ca", "crl")
    before = (site / "ca/root-crl.der").read_bytes()
    (site / "ca/root.key").rename(site / "safe.key")
    assert run(site, "ca", "crl").code == 0
    assert (site / "ca/root-crl.der").read_bytes() == before
    assert (site / "ca/crl.pem").read_text().count("BEGIN X509 CRL") == 2


def openssl(site, *words):
    return subprocess.run(
        ["openssl", *map(str, words)],
        cwd=site,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def verify(site, name):
    return openssl(
        site, "verify", "-crl_check_all", "-CAfile", "ca/root.pem", "-untrusted", "ca/issuing.pem",
        "-CRLfile", "ca/crl.pem", f"clients/{name}.pem",
    )  # fmt: skip


def test_openssl_agrees_about_who_is_revoked(site):
    issue(site)
    run(site, "cert", "issue", "other")
    assert run(site, "ca", "crl").code == 0
    assert verify(site, "acme").returncode == 0, verify(site, "acme").stderr
    run(site, "cert", "revoke", "acme")
    assert "certificate revoked" in verify(site, "acme").stderr
    assert verify(site, "other").returncode == 0


@pytest.mark.parametrize("is_revoked", [False, True])
def test_openssl_believes_our_ocsp_answer(site, is_revoked):
    issue(site)
    if is_revoked:
        run(site, "cert", "revoke", "acme", "--reason", "superseded")
    asked = ["ocsp", "-no_nonce", "-issuer", "ca/issuing.pem", "-cert", "clients/acme.pem"]
    openssl(site, *asked, "-reqout", "req.der")
    outcome = run(site, "ca", "ocsp", "--reqin", site / "req.der", "--respout", site / "resp.der")
    assert outcome.code == 0, outcome.errors
    answer = openssl(
        site,
        *asked,
        "-respin",
        "resp.der",
        "-CAfile",
        "ca/root.pem",
        "-verify_other",
        "ca/issuing.pem",
        "-no_nonce",  # openssl makes a new one for each call, this one too
    )
    assert "Response verify OK" in answer.stderr, answer.stderr
    assert f"acme.pem: {'revoked' if is_revoked else 'good'}" in answer.stdout


def test_addresses_of_list_and_responder_stand_in_the_certificate(site):
    made = issue(site, "--crl-url", "http://ca.example/crl", "--ocsp-url", "http://ca.example/ocsp")
    shown = openssl(site, "x509", "-in", "clients/acme.pem", "-noout", "-text").stdout
    assert "URI:http://ca.example/crl" in shown
    assert "OCSP - URI:http://ca.example/ocsp" in shown
    assert made.extension(x509.CRLDistributionPoints)
