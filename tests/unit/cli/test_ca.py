"""`gatepost ca`: a CA is made once, its key is nobody else's."""

import stat
from datetime import UTC, datetime

import pytest
from cryptography import x509

from relay.ca_folder import CaFolder, create_ca, valid_from_now
from relay.cli.certificate_view import describe
from relay.errors import ConfigurationError
from relay.key_files import encode_private_key, load_private_key, make_private_key
from relay.pki.certificate import parse_pem_chain
from relay.pki.chain import Anchors, verify_chain
from relay.pki.issuing import Subject
from tests.kit.command_line import gatepost
from tests.kit.pki import make_key


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEPOST_CA_PASSPHRASE", raising=False)
    return tmp_path


def ca_init(site, *arguments):
    return gatepost("ca", "init", "--config", site / "gatepost.toml", *arguments)


def test_a_ca_is_made_beside_the_configuration(site):
    outcome = ca_init(site, "--name", "Acme CA", "--json")
    assert outcome.code == 0, outcome.errors
    assert outcome.json["subject"] == "CN=Acme CA"
    (root,) = parse_pem_chain((site / "ca/root.pem").read_bytes())
    assert outcome.json["sha256"] == root.sha256
    assert (root.not_after - root.not_before).days == 3650
    assert stat.S_IMODE((site / "ca/root.key").stat().st_mode) == 0o600


def test_people_are_told_where_it_is_and_what_comes_next(site):
    outcome = ca_init(site)
    assert str(site / "ca/root.pem") in outcome.output
    assert "gatepost cert issue" in outcome.output
    assert "PRIVATE" not in outcome.output


@pytest.mark.parametrize("kept", ["root.pem", "root.key", "issuing.pem", "issuing.key"])
def test_no_ca_is_written_over(site, kept):
    ca_init(site)
    for path in (site / "ca").iterdir():
        if path.name != kept:
            path.unlink()
    before = (site / "ca" / kept).read_bytes()
    outcome = ca_init(site)
    assert outcome.code == 2
    assert outcome.errors.startswith(f"{site / 'ca' / kept}: the file exists already; ")
    assert outcome.errors.count("\n") == 1
    assert (site / "ca" / kept).read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "words"),
    [("ec", "EC secp256r1"), ("p384", "EC secp384r1"), ("rsa", "RSA 3072"), ("ed25519", "Ed25519")],
)
def test_the_kind_of_key_is_a_choice(site, kind, words):
    assert ca_init(site, "--key-type", kind).code == 0
    ca = CaFolder(site / "ca")
    for certificate in (ca.certificate(), ca.issuing_certificate()):
        assert describe(certificate)["key"] == words
    leaf = ca.issue(Subject("acme"), make_key().public_key(), valid_from_now(30))
    anchors = Anchors([ca.certificate()])
    assert verify_chain(ca.chain(leaf), anchors, datetime.now(UTC)).status is None


def test_the_intermediate_issues_and_the_root_can_be_kept_elsewhere(site):
    ca_init(site, "--name", "Acme CA")
    (site / "ca/root.key").unlink()
    outcome = gatepost("cert", "issue", "acme", "--config", site / "gatepost.toml")
    assert outcome.code == 0, outcome.errors
    leaf, issuing = parse_pem_chain((site / "clients/acme.pem").read_bytes())
    assert (leaf.issuer, issuing.subject) == (issuing.subject, "CN=Acme CA\\, issuing")
    assert issuing.extension(x509.BasicConstraints).path_length == 0


def test_a_folder_with_a_root_only_goes_on_working(site):
    ca_init(site, "--name", "Old CA")
    for name in ("issuing.pem", "issuing.key"):
        (site / "ca" / name).unlink()
    issued = gatepost("cert", "issue", "acme", "--config", site / "gatepost.toml")
    assert issued.code == 0, issued.errors
    (leaf,) = parse_pem_chain((site / "clients/acme.pem").read_bytes())
    assert leaf.issuer == "CN=Old CA"


@pytest.mark.parametrize("by", ["file", "environment"])
def test_the_key_can_have_a_passphrase(site, by, monkeypatch):
    secret = site / "secret"
    secret.write_text("correct horse\nsecond line\n")
    if by == "environment":
        monkeypatch.setenv("GATEPOST_CA_PASSPHRASE", "correct horse")
    given = ["--passphrase-file", secret] if by == "file" else []
    assert ca_init(site, *given).code == 0
    assert b"ENCRYPTED" in (site / "ca/root.key").read_bytes()
    issue = ["cert", "issue", "acme", "--config", site / "gatepost.toml"]
    assert gatepost(*issue, *given).code == 0
    monkeypatch.delenv("GATEPOST_CA_PASSPHRASE", raising=False)
    refused = gatepost("cert", "issue", "other", "--config", site / "gatepost.toml")
    assert refused.code == 2
    assert "the key is encrypted; give --passphrase-file" in refused.errors
    assert not (site / "clients/other.key").exists()
    secret.write_text("wrong\n")
    assert gatepost(*issue[:2], "other", *issue[3:], "--passphrase-file", secret).code == 2


def test_a_passphrase_harms_no_key_that_needs_none(site):
    path = site / "plain.key"
    path.write_bytes(encode_private_key(make_private_key("ec")))
    assert load_private_key(path, b"superfluous")


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_passphrase_file_is_a_mistake(site, content):
    (site / "secret").write_bytes(content)
    outcome = ca_init(site, "--passphrase-file", site / "secret")
    assert outcome.code == 2
    assert "no password in its first line" in outcome.errors


# --- a folder that is no good CA -------------------------------------------------------------


def issue(folder):
    CaFolder(folder).issue(Subject("acme"), make_key().public_key(), valid_from_now(30))


def test_without_a_ca_nothing_is_signed(tmp_path):
    with pytest.raises(ConfigurationError, match="no CA here") as caught:
        issue(tmp_path)
    assert "gatepost ca init" in caught.value.remedy


@pytest.mark.parametrize(
    "content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_root_that_cannot_be_read_is_a_mistake(tmp_path, content):
    (tmp_path / "root.pem").write_text(content)
    with pytest.raises(ConfigurationError, match="no certificate can be read"):
        issue(tmp_path)


def test_an_expired_ca_signs_nothing(tmp_path):
    create_ca(tmp_path, "Old", days=0)
    with pytest.raises(ConfigurationError, match="has expired"):
        issue(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_key_that_cannot_be_read_is_a_mistake(tmp_path, content):
    path = tmp_path / "root.key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="no private key"):
        load_private_key(path)


def test_all_that_was_signed_is_listed_and_never_forgotten(tmp_path):
    ca = create_ca(tmp_path, "Our CA")
    assert (ca.issued(), ca.find("acme")) == ([], None)
    signed = [
        ca.issue(Subject("acme", ("dns:a.example",)), make_key().public_key(), valid_from_now(30))
        for _ in range(2)
    ]
    assert [record["serial"] for record in ca.issued()] == [each.serial for each in signed]
    assert ca.issued()[0]["names"] == ["dns:a.example"]
    assert ca.find("acme") == signed[-1]
    assert signed[0].serial != signed[1].serial
