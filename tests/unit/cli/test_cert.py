"""`gatepost cert`: one step to a partner that is let in; keys stay secret, files stay."""

import base64
import json
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

from relay.allowlist_file import read_allowlist
from relay.cli.new_site import create_site
from relay.pki.certificate import parse_pem_chain
from tests.kit.command_line import gatepost
from tests.kit.pki import self_signed

PASSWORD = "geheim"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with a CA and nothing else."""
    monkeypatch.delenv("GATEPOST_CA_PASSPHRASE", raising=False)
    assert gatepost("ca", "init", "--config", tmp_path / "gatepost.toml").code == 0
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return tmp_path


def cert(site, command, *arguments):
    return gatepost("cert", command, *arguments, "--config", site / "gatepost.toml")


def certificate(path):
    return parse_pem_chain(path.read_bytes())[0]


def identity(site, name):
    return read_allowlist(site / "allowlist.toml").find(name)


# --- issue -----------------------------------------------------------------------------------


def test_one_step_makes_the_files_and_lets_the_partner_in(site):
    outcome = cert(
        site, "issue", "acme", "--pin", "--senders", "@acme.example", "--senders", "x@y.example",
        "--recipients", "@example.org", "--networks", "192.0.2.0/24", "--tier", "trusted",
        "--not-after", "2099-12-31", "--contact", "postmaster@acme.example",
        "--p12", "--p12-password-file", site / "password", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    made = certificate(site / "clients/acme.pem")
    key_path = site / "clients/acme.key"
    key = load_pem_private_key(key_path.read_bytes(), None)
    assert key.public_key() == made.public_key
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    packed_path = site / "clients/acme.p12"
    assert stat.S_IMODE(packed_path.stat().st_mode) == 0o600
    packed = pkcs12.load_pkcs12(packed_path.read_bytes(), PASSWORD.encode())
    assert packed.cert.certificate == made.x509
    found = identity(site, "acme")
    assert found.pins == (f"spki:sha256:{made.spki_sha256}",)
    assert found.senders == ("@acme.example", "x@y.example")
    assert found.recipients == ("@example.org",)
    assert str(found.networks[0]) == "192.0.2.0/24"
    assert (found.tier, found.contact) == ("trusted", "postmaster@acme.example")
    assert f"{found.not_after:%F}" == "2099-12-31"
    assert outcome.json["pins"]["spki"]["hex"] == found.pins[0]
    assert outcome.json["pinned_in"] == str(site / "allowlist.toml")


def test_the_partner_is_told_what_to_configure(site):
    outcome = cert(site, "issue", "acme", "--pin", "--senders", "@acme.example")
    for words in (
        "smtp_tls_chain_files = /etc/postfix/acme.key, /etc/postfix/acme.pem",
        "relayhost = [edge.example.org]:25",
        "secure match=edge.example.org tafile=/etc/postfix/gatepost-root.pem",
        "tls_certificate = /etc/exim4/acme.pem",
        "tls_privatekey = /etc/exim4/acme.key",
        "hosts_require_tls = *",
        str(site / "ca/root.pem"),
    ):
        assert words in outcome.output
    assert "PRIVATE KEY" not in outcome.output + outcome.errors
    assert not any(
        line in outcome.output
        for line in (site / "clients/acme.key").read_text().splitlines()[1:-1]
    )


@pytest.mark.parametrize(
    ("address", "tls", "words"),
    [
        ("0.0.0.0:25", "starttls", "relayhost = [edge.example.com]:25"),
        ("[::]:2525", "starttls", "relayhost = [edge.example.com]:2525"),
        ("127.0.0.1:2525", "starttls", "relayhost = [localhost]:2525"),
        ("0.0.0.0:465", "implicit", "smtp_tls_wrappermode = yes"),
        ("0.0.0.0:465", "implicit", "protocol = smtps"),
        ("unix:/run/x.sock", "starttls", "relayhost = [edge.example.com]:25"),
    ],
)
def test_the_partner_is_told_our_own_address(tmp_path, address, tls, words):
    create_site(tmp_path, "edge.example.com")
    path = tmp_path / "gatepost.toml"
    text = path.read_text().replace('"127.0.0.1:2525"', json.dumps(address))
    path.write_text(text.replace('tls = "starttls"', f'tls = "{tls}"'))
    assert words in cert(tmp_path, "issue", "acme").output


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_partner_needs_our_ca_only_if_we_show_a_certificate_of_it(tmp_path, is_ours):
    create_site(tmp_path, "edge.example.com")
    if not is_ours:
        (tmp_path / "tls/edge.pem").write_bytes(self_signed("other").pem)
    outcome = cert(tmp_path, "issue", "acme")
    assert ("tafile=" in outcome.output) is is_ours
    assert ("tls_verify_certificates = system" in outcome.output) is not is_ours


def test_without_pin_the_next_command_is_said(site):
    outcome = cert(site, "issue", "acme")
    pin = f"spki:sha256:{certificate(site / 'clients/acme.pem').spki_sha256}"
    assert f"gatepost pin add acme --pin {pin}" in outcome.output
    assert not (site / "allowlist.toml").exists()


def test_names_and_lifetime_stand_in_the_certificate(site):
    cert(
        site,
        "issue",
        "acme",
        "--dns",
        "Mail.Acme.example",
        "--uri",
        "spiffe://acme/a",
        "--days",
        "7",
    )
    made = certificate(site / "clients/acme.pem")
    assert made.names == ("dns:mail.acme.example", "uri:spiffe://acme/a")
    assert (made.not_after - made.not_before).days == 7


def test_a_server_certificate_has_its_name_and_no_partner_lines(site):
    outcome = cert(site, "issue", "edge.example.org", "--server")
    assert outcome.code == 0, outcome.errors
    made = certificate(site / "tls/edge.example.org.pem")
    assert made.names == ("dns:edge.example.org",)
    assert "relayhost" not in outcome.output
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", site / "ca/root.pem",
         "-untrusted", site / "ca/issuing.pem", site / "tls/edge.example.org.pem"], check=True, capture_output=True,
    )  # fmt: skip


def test_a_second_certificate_is_the_successor_with_the_same_limits(site):
    cert(site, "issue", "acme", "--pin", "--senders", "@acme.example")
    outcome = cert(site, "issue", "acme", "--pin", "--out", site / "next")
    assert outcome.code == 0, outcome.errors
    found = identity(site, "acme")
    assert len(found.pins) == 2
    assert found.senders == ("@acme.example",)


@pytest.mark.parametrize("name", ["acme.key", "acme.pem", "acme.p12"])
def test_no_file_is_written_over_and_nothing_is_half_done(site, name):
    (site / "clients").mkdir()
    (site / "clients" / name).write_text("precious")
    outcome = cert(
        site, "issue", "acme", "--pin", "--p12", "--p12-password-file", site / "password"
    )
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{site / 'clients' / name}: the file exists already; ")
    assert [path.read_text() for path in (site / "clients").iterdir()] == ["precious"]
    assert not (site / "allowlist.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b"], "cannot name an identity"),
        (["acme", "--dns", "*.acme.example"], "wildcard"),
        (["acme", "--dns", "a b"], "no certificate name"),
        (["acme", "--senders", "@acme.example"], "--senders without --pin"),
        (["acme", "--pin", "--senders", "acme.example"], '--senders: \'acme.example\' is no address pattern; for a whole domain write "@acme.example"'),
        (["acme", "--pin", "--networks", "192.0.2"], "--networks: '192.0.2' is no network"),
        (["acme", "--pin", "--not-after", "soon"], "--not-after: 'soon' is no date"),
        (["acme", "--p12"], "acme.p12 needs a password; give it with --p12-password-file FILE"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_made(site, arguments, words):
    outcome = cert(site, "issue", *arguments)
    assert outcome.code == 2
    assert words in outcome.errors
    assert outcome.errors.count("\n") == 1
    assert not (site / "clients").exists()


def test_limits_of_a_known_identity_are_not_changed_on_the_way(site):
    cert(site, "issue", "acme", "--pin", "--senders", "@acme.example")
    outcome = cert(site, "issue", "acme", "--pin", "--senders", "*", "--out", site / "next")
    assert outcome.code == 2
    assert "identity 'acme' is there already; leave out --senders" in outcome.errors
    assert not (site / "next").exists()


def test_a_broken_allowlist_is_found_before_anything_is_made(site):
    (site / "allowlist.toml").write_text("[[identity]]\nname = 7\n")
    outcome = cert(site, "issue", "acme", "--pin")
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{site / 'allowlist.toml'}:2: ")
    assert not (site / "clients").exists()


# --- sign ------------------------------------------------------------------------------------


@pytest.fixture
def request_file(site):
    path = site / "acme.csr"
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
         "-keyout", site / "partner.key", "-out", path, "-subj", "/O=Acme/CN=acme",
         "-addext", "subjectAltName=DNS:mail.acme.example,DNS:bank.example"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_a_request_is_signed_and_pinned_without_its_key(site, request_file):
    outcome = cert(site, "sign", request_file, "--pin", "--senders", "@acme.example")
    assert outcome.code == 0, outcome.errors
    made = certificate(site / "clients/acme.pem")
    assert made.subject == "CN=acme"
    assert identity(site, "acme").pins == (f"spki:sha256:{made.spki_sha256}",)
    key = load_pem_private_key((site / "partner.key").read_bytes(), None)
    assert key.public_key() == made.public_key


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ()),
        (["--dns", "mx.acme.example"], ("dns:mx.acme.example",)),
        (["--names-from-request"], ("dns:mail.acme.example", "dns:bank.example")),
        (
            ["--names-from-request", "--dns", "bank.example"],
            ("dns:bank.example", "dns:mail.acme.example"),
        ),
    ],
)
def test_names_are_ours_to_give_not_the_requests_to_take(site, request_file, arguments, names):
    assert cert(site, "sign", request_file, *arguments).code == 0
    assert certificate(site / "clients/acme.pem").names == names


def test_what_is_no_request_is_a_mistake_in_that_file(site):
    (site / "junk.csr").write_text("junk")
    outcome = cert(site, "sign", site / "junk.csr")
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{site / 'junk.csr'}: no readable signing request")


def test_a_file_that_is_not_there_is_one_line(site):
    outcome = cert(site, "sign", site / "none.csr")
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)


def test_a_signed_request_is_not_written_over_either(site, request_file):
    assert cert(site, "sign", request_file).code == 0
    assert cert(site, "sign", request_file).code == 2


# --- list, show, export ----------------------------------------------------------------------


def test_the_list_says_what_was_signed_and_who_is_let_in(site):
    cert(site, "issue", "acme", "--pin", "--senders", "@acme.example")
    cert(site, "issue", "edge.example.org", "--server", "--days", "365")
    acme, edge = cert(site, "list", "--json").json
    assert (acme["name"], acme["identity"], acme["days_left"]) == ("acme", "acme", 89)
    assert (edge["purpose"], edge["identity"], edge["names"]) == (
        "server",
        None,
        ["dns:edge.example.org"],
    )
    assert "pem" not in acme
    shown = cert(site, "list").output
    assert acme["serial"] in shown
    assert "edge.example.org" in shown


def test_a_certificate_is_shown_by_name_or_file_with_all_pins(site):
    cert(site, "issue", "acme", "--pin", "--senders", "@acme.example")
    by_name = cert(site, "show", "acme", "--json").json
    assert cert(site, "show", site / "clients/acme.pem", "--json").json == by_name
    assert by_name["pinned_as"] == "acme"
    digest = bytes.fromhex(certificate(site / "clients/acme.pem").spki_sha256)
    assert by_name["pins"]["spki"] == {
        "base64": f"spki:sha256:{base64.b64encode(digest).decode()}",
        "hex": f"spki:sha256:{digest.hex()}",
        "colons": f"spki:sha256:{digest.hex(':').upper()}",
    }
    shown = cert(site, "show", "acme").output
    assert all(form in shown for forms in by_name["pins"].values() for form in forms.values())
    assert "CN=acme" in shown


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519", "ec"])
def test_foreign_certificates_are_shown_too(site, kind):
    (site / "other.pem").write_bytes(self_signed("other", usages=("code", "any"), key=kind).pem)
    shown = cert(site, "show", site / "other.pem", "--json").json
    assert shown["key"] == {"rsa2048": "RSA 2048", "ed25519": "Ed25519", "ec": "EC secp256r1"}[kind]
    assert shown["purposes"] == ["1.3.6.1.5.5.7.3.3", "any"]
    assert shown["pinned_as"] is None


def test_of_a_request_or_a_public_key_the_pin_is_shown(site, request_file):
    shown = cert(site, "show", request_file, "--json").json
    assert list(shown["pins"]) == ["spki"]
    cert(site, "sign", request_file)
    assert cert(site, "show", "acme", "--json").json["pins"]["spki"] == shown["pins"]["spki"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("junk", "no PEM file"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed certificate"),
    ],
)
def test_what_cannot_be_shown_is_one_line(site, content, words):
    (site / "odd.pem").write_text(content)
    outcome = cert(site, "show", site / "odd.pem")
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{site / 'odd.pem'}: ")
    assert words in outcome.errors


def test_an_unknown_name_is_one_line(site):
    outcome = cert(site, "show", "nobody")
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)
    assert "gatepost cert list" in outcome.errors


def test_a_certificate_is_exported_again_as_pem(site):
    cert(site, "issue", "acme")
    assert cert(site, "export", "acme").output == (site / "clients/acme.pem").read_text()
    assert cert(site, "export", "acme", "--out", site / "again.pem").code == 0
    assert certificate(site / "again.pem") == certificate(site / "clients/acme.pem")
    assert cert(site, "export", "acme", "--out", site / "again.pem").code == 2


def test_a_certificate_is_exported_as_pkcs12_with_its_own_key_only(site):
    cert(site, "issue", "acme")
    cert(site, "issue", "other")
    arguments = ["export", "acme", "--format", "p12", "--p12-password-file", site / "password"]
    wrong = cert(site, *arguments, "--out", site / "x.p12", "--key", site / "clients/other.key")
    assert wrong.code == 2
    assert "not the key of acme" in wrong.errors
    assert cert(site, *arguments, "--out", site / "acme.p12").code == 0
    packed = pkcs12.load_pkcs12((site / "acme.p12").read_bytes(), PASSWORD.encode())
    assert packed.cert.certificate == certificate(site / "clients/acme.pem").x509
    assert isinstance(packed.additional_certs[0].certificate, x509.Certificate)
