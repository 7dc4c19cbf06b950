"""Certificates, keys, CAs and the allowlist: read once, every mistake at the line that names it."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from relay import certificate_files
from relay.config import load
from relay.errors import ConfigurationError
from relay.material import load_material, read_allowlist
from tests.kit.pki import Authority, self_signed

CONFIG = """\
hostname = "edge.example.org"
allowlist = "allowlist.toml"
[[listener]]
name = "partners"
address = "127.0.0.1:2525"
client_ca = ["ca.pem"]

[[listener.certificate]]
chain = "edge.pem"
key = "edge.key"

[route."*"]
hosts = ["mx.example.org"]
ca = ["ca.pem"]
"""
WITHOUT_CA = CONFIG.rpartition("ca = ")[0]
PIN = "spki:sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def authority():
    return Authority("Test root")


@pytest.fixture
def folder(tmp_path, authority):
    (tmp_path / "gatepost.toml").write_text(CONFIG)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "allowlist.toml").write_text(f'[[identity]]\nname = "acme"\npins = ["{PIN}"]\n')
    server(authority).write(tmp_path, "edge")
    return tmp_path


def server(authority, **options):
    return authority.issue("edge", dns=("edge.example.org",), usages=("server",), **options)


def read(folder):
    return load_material(load(folder / "gatepost.toml", {}))


def mistakes(folder):
    with pytest.raises(ConfigurationError) as caught:
        read(folder)
    lines = [str(each) for each in (caught.value, *caught.value.others)]
    assert all("\n" not in line and "; " in line for line in lines)
    return [line.replace(f"{folder}/", "") for line in lines]


def append(folder, text):
    (folder / "gatepost.toml").write_text(CONFIG + text)


# --- what is good -----------------------------------------------------------------------------


def test_everything_named_is_read(folder, authority):
    client = authority.issue("relay")
    client.write(folder, "client")
    append(
        folder,
        'client_certificate = { chain = "client.pem", key = "client.key" }\n'
        f'[route."a.example"]\nhosts = ["a"]\ntls = "fingerprint"\npins = ["{PIN.upper()}"]\n'
        '[route."b.example"]\nhosts = ["localhost"]\ntls = "off"\n',
    )
    material = read(folder)
    assert [each.subject for each in material.listeners["partners"].anchors] == ["CN=Test root"]
    (pair,) = material.listeners["partners"].key_pairs
    assert pair.chain[0].names == ("dns:edge.example.org",)
    assert pair.key.public_key() == pair.chain[0].x509.public_key()
    assert material.routes["*"].key_pair.chain == client.certificates
    assert len(material.routes["*"].anchors) == 1
    assert material.routes["a.example"].pins == (PIN,)
    assert material.routes["a.example"].anchors == ()
    assert material.routes["b.example"].anchors == ()
    assert [each.name for each in material.allowlist] == ["acme"]


def test_a_chain_with_intermediates(folder, authority):
    intermediate = Authority("Intermediate", parent=authority)
    server(intermediate).write(folder, "edge")
    assert len(read(folder).listeners["partners"].key_pairs[0].chain) >= 2


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_kinds_of_keys(folder, authority, kind):
    server(authority, key=kind).write(folder, "edge")
    assert len(read(folder).listeners["partners"].key_pairs) == 1


def test_one_ca_in_two_files_is_one_anchor(folder, authority):
    (folder / "ca2.pem").write_bytes(authority.pem * 2)
    (folder / "gatepost.toml").write_text(
        CONFIG.replace('ca = ["ca.pem"]', 'ca = ["ca.pem", "ca2.pem"]')
    )
    assert len(read(folder).routes["*"].anchors) == 1


def test_without_ca_the_system_store_is_trusted(folder, authority, monkeypatch):
    broken = authority.pem.replace(b"MII", b"AAA", 1)
    (folder / "store.pem").write_bytes(b"# comment\n" + broken + authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "store.pem"))
    (folder / "gatepost.toml").write_text(WITHOUT_CA)
    assert [each.subject for each in read(folder).routes["*"].anchors] == ["CN=Test root"]


def test_a_system_without_a_store_is_a_mistake(folder, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "nowhere"))
    monkeypatch.setattr(certificate_files, "_SYSTEM_STORES", ())
    (folder / "gatepost.toml").write_text(f'{WITHOUT_CA}[route."b"]\nhosts = ["b"]\n')
    assert mistakes(folder) == [
        ("gatepost.toml:12: this system has no CA certificates; "
        "install its package `ca-certificates`, or name a file in the route's `ca`")
    ]  # fmt: skip


def test_a_client_certificate_may_have_expired(folder, authority):
    """A next hop that pins it does not mind; `gatepost check` says so."""
    expired = authority.issue("relay", not_before=datetime.now(UTC) - timedelta(days=9), days=2)
    expired.write(folder, "client")
    append(folder, 'client_certificate = { chain = "client.pem", key = "client.key" }\n')
    assert read(folder).routes["*"].key_pair is not None


# --- what is not ------------------------------------------------------------------------------


def encrypted(folder, authority):
    key = server(authority).key
    protection = BestAvailableEncryption(b"secret")
    (folder / "edge.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    )


def encrypted_traditional(folder, authority):
    key = server(authority).key
    protection = BestAvailableEncryption(b"secret")
    (folder / "edge.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, protection)
    )


def foreign_key(folder, authority):
    (folder / "edge.key").write_bytes(server(authority).key_pem)


def expired(folder, authority):
    server(authority, not_before=datetime(2020, 1, 1, tzinfo=UTC), days=31).write(folder, "edge")


def not_yet(folder, authority):
    start = datetime(2099, 1, 1, tzinfo=UTC)
    server(authority, not_before=start, days=30).write(folder, "edge")


def swapped(folder, authority):
    (folder / "edge.pem").rename(folder / "x")
    (folder / "edge.key").rename(folder / "edge.pem")
    (folder / "x").rename(folder / "edge.key")


def out_of_order(folder, authority):
    intermediate = Authority("Intermediate", parent=authority)
    issued = server(intermediate)
    issued.write(folder, "edge")
    (folder / "edge.pem").write_bytes(intermediate.pem + issued.pem)


def wrong_issuer(folder, authority):
    issued = server(authority)
    issued.write(folder, "edge")
    (folder / "edge.pem").write_bytes(issued.pem + Authority("Other").pem)


def dsa_key(folder, authority):
    pem = dsa.generate_private_key(1024).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (folder / "edge.key").write_bytes(pem)


def as_der(folder, authority):
    (folder / "edge.pem").write_bytes(server(authority).certificates[0].der)


def as_folder(folder, authority):
    (folder / "edge.key").unlink()
    (folder / "edge.key").mkdir()


def dangling(folder, authority):
    (folder / "edge.key").unlink()
    (folder / "edge.key").symlink_to("nowhere")


def damaged(folder, authority):
    (folder / "edge.pem").write_bytes(server(authority).pem.replace(b"MII", b"AAA", 1))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (encrypted, 'gatepost.toml:10: edge.key is encrypted; decrypt it ("openssl pkey -in edge.key -out FILE")'),
        (encrypted_traditional, "gatepost.toml:10: edge.key is encrypted; "),
        (foreign_key, "gatepost.toml:10: edge.key is not the key of edge.pem; name the key"),
        (expired, "gatepost.toml:9: the certificate in edge.pem expired on 2020-02-01; renew it"),
        (not_yet, "gatepost.toml:9: the certificate in edge.pem is valid from 2099-01-01 00:00 UTC; wait"),
        (swapped, "gatepost.toml:9: edge.pem has no PEM certificate in it; it is a private key"),
        (out_of_order, "gatepost.toml:10: edge.pem does not begin with our own certificate; put it first"),
        (wrong_issuer, "gatepost.toml:10: certificate 2 in edge.pem has not issued certificate 1; "),
        (dsa_key, "gatepost.toml:10: edge.key is a key of a kind that TLS cannot use; use EC"),
        (as_der, "gatepost.toml:9: edge.pem has no PEM certificate in it; it looks like DER"),
        (as_folder, "gatepost.toml:10: edge.key is a folder; name a file in it"),
        (dangling, "gatepost.toml:10: edge.key is a dangling link; check the path"),
        (damaged, "gatepost.toml:9: edge.pem holds a certificate that cannot be read ("),
        (lambda folder, _: (folder / "edge.key").unlink(), "gatepost.toml:10: edge.key is not there; check"),
        (lambda folder, _: (folder / "edge.key").write_text("no"), "gatepost.toml:10: edge.key has no PEM private key in it; it should"),
        (lambda folder, _: (folder / "edge.pem").write_text(""), "gatepost.toml:9: edge.pem has no PEM certificate in it; it should"),
        (lambda folder, a: (folder / "ca.pem").write_bytes(server(a).pem), "gatepost.toml:6: ca.pem holds a certificate that is no CA (CN=edge); name"),
        (lambda folder, a: (folder / "ca.pem").write_bytes(self_signed("me").pem), "gatepost.toml:6: ca.pem holds a certificate that is no CA (CN=me); "),
        (lambda folder, _: (folder / "allowlist.toml").unlink(), 'gatepost.toml:2: the allowlist allowlist.toml is not there; make it with "gatepost pin add"'),
        (lambda folder, _: (folder / "allowlist.toml").write_text("[[identity]]\nname = 1\n"), "allowlist.toml:"),
        (lambda folder, _: (folder / "allowlist.toml").write_bytes(b"\xff"), "allowlist.toml: not UTF-8 text (byte 0); "),
    ],
)  # fmt: skip
def test_a_mistake_stands_at_the_line_that_names_the_file(folder, authority, spoil, line):
    spoil(folder, authority)
    assert mistakes(folder)[0].startswith(line)


def test_the_mistakes_of_all_files_come_at_once(folder):
    (folder / "edge.key").unlink()
    (folder / "ca.pem").write_text("")
    (folder / "allowlist.toml").unlink()
    assert [line.partition(": ")[0] for line in mistakes(folder)] == [
        "gatepost.toml:10", "gatepost.toml:6", "gatepost.toml:14", "gatepost.toml:2"
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(folder):
    (folder / "edge.key").chmod(0)
    assert mistakes(folder) == [
        "gatepost.toml:10: edge.key may not be read; check its owner and its mode"
    ]


def test_the_text_of_an_allowlist_comes_with_it(folder):
    text, allowlist = read_allowlist(folder / "allowlist.toml")
    assert text.startswith("[[identity]]")
    assert len(allowlist) == 1


# --- revocation -------------------------------------------------------------------------------


def test_the_ca_of_a_revocation_list_is_read(folder, authority):
    table = '[[revocation.authority]]\ncertificate = "ca.pem"\nmode = "hard"\n'
    (folder / "gatepost.toml").write_text(CONFIG + table)
    (found,) = read(folder).authorities
    assert [each.x509 for each in found.certificates] == [authority.cert]
    assert found.settings.mode == "hard"


def test_a_revocation_list_that_is_not_there_is_a_mistake(folder):
    table = '[[revocation.authority]]\ncertificate = "ca.pem"\ncrl_files = ["root.crl"]\n'
    (folder / "gatepost.toml").write_text(CONFIG + table)
    with pytest.raises(ConfigurationError, match=r"toml:17: the CRL .*root.crl is not there; "):
        read(folder)
