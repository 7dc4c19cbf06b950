"""Name constraints, one table for us and for `openssl verify`, which must agree where it can."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509

from relay.pki.name_constraints import count_comparisons, is_permitted, names_of
from tests.kit.pki import Authority, common_name

NAME = x509.NameOID


def dns(text):
    return x509.DNSName(text)


def email(text):
    return x509.RFC822Name._init_without_validation(text)


def uri(text):
    return x509.UniformResourceIdentifier(text)


def ip(text):
    return x509.IPAddress(ip_network(text) if "/" in text else ip_address(text))


def rdns(**attributes):
    known = {"c": NAME.COUNTRY_NAME, "o": NAME.ORGANIZATION_NAME, "cn": NAME.COMMON_NAME}
    return [x509.NameAttribute(known[key], value) for key, value in attributes.items()]


def directory(**attributes):
    return x509.DirectoryName(x509.Name(rdns(**attributes)))


def other(text):
    return x509.OtherName(
        x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c" + bytes((len(text),)) + text
    )


# permitted, excluded, name, whether it is within; and whether openssl is asked, too: not about directory
# names, for it judges the subject as well, nor where it is known to be laxer
CASES = [
    ([dns("acme.example")], [], dns("acme.example"), True, True),
    ([dns("acme.example")], [], dns("MAIL.Acme.Example"), True, True),
    ([dns("Acme.EXAMPLE")], [], dns("mail.acme.example"), True, True),
    ([dns("acme.example")], [], dns("a.b.acme.example"), True, True),
    ([dns("acme.example")], [], dns("*.acme.example"), True, True),
    ([dns("acme.example")], [], dns("notacme.example"), False, True),
    ([dns("acme.example")], [], dns("example"), False, True),
    ([dns("acme.example")], [], dns("*.example"), False, True),
    ([dns("acme.example"), dns("b.example")], [], dns("x.b.example"), True, True),
    ([dns("")], [], dns("any.example"), True, True),
    ([dns("acme.example")], [], dns(".acme.example"), False, False),
    ([dns("acme.example")], [], dns("a..acme.example"), False, False),
    ([dns(".acme.example")], [], dns("mail.acme.example"), False, False),
    ([], [dns("acme.example")], dns("acme.example"), False, True),
    ([], [dns("acme.example")], dns("mail.acme.example"), False, True),
    ([], [dns("acme.example")], dns("acme.example.org"), True, True),
    ([], [dns("mail.acme.example")], dns("*.acme.example"), False, False),
    ([], [dns("mail.acme.example")], dns("*.other.example"), True, True),
    ([], [dns("")], dns("any.example"), False, True),
    ([dns("example")], [dns("acme.example")], dns("b.example"), True, True),
    ([dns("example")], [dns("acme.example")], dns("acme.example"), False, True),
    ([email("acme.example")], [], email("a@acme.example"), True, True),
    ([email("acme.example")], [], email("a@ACME.example"), True, True),
    ([email("acme.example")], [], email("a@mail.acme.example"), False, True),
    ([email(".acme.example")], [], email("a@mail.acme.example"), True, True),
    ([email(".acme.example")], [], email("a@acme.example"), False, True),
    ([email("a@acme.example")], [], email("a@acme.example"), True, True),
    ([email("a@acme.example")], [], email("b@acme.example"), False, True),
    ([email("a@acme.example")], [], email("aa@acme.example"), False, True),
    ([email("*@acme.example")], [], email("b@acme.example"), False, True),
    ([email("acme.example")], [], email("a@b@acme.example"), False, False),
    ([email("acme.example")], [], email("acme.example"), False, True),
    ([email("acme.example")], [], email("@acme.example"), False, False),
    ([], [email("acme.example")], email("a@acme.example"), False, True),
    ([], [email("acme.example")], email("a@b.example"), True, True),
    ([uri("acme.example")], [], uri("spiffe://acme.example/billing"), True, True),
    ([uri("acme.example")], [], uri("https://ACME.example:443/"), True, True),
    ([uri("acme.example")], [], uri("https://u@acme.example/"), True, False),
    ([uri("acme.example")], [], uri("https://mail.acme.example/"), False, True),
    ([uri(".acme.example")], [], uri("https://mail.acme.example/"), True, True),
    ([uri(".acme.example")], [], uri("https://acme.example/"), False, True),
    ([uri("acme.example")], [], uri("https://b.example/?acme.example"), False, True),
    ([uri("acme.example")], [], uri("urn:acme.example:x"), False, True),
    ([uri("192.0.2.1")], [], uri("https://192.0.2.1/"), False, False),
    ([uri("acme.example")], [], uri("https://[2001:db8::1]/"), False, True),
    ([uri("acme.example")], [], uri("https://[/"), False, True),
    ([], [uri("acme.example")], uri("https://acme.example/"), False, True),
    ([], [uri("acme.example")], uri("urn:x:y"), False, True),
    ([ip("192.0.2.0/24")], [], ip("192.0.2.255"), True, True),
    ([ip("192.0.2.0/24")], [], ip("192.0.3.0"), False, True),
    ([ip("192.0.2.0/24")], [], ip("2001:db8::1"), False, True),
    ([ip("2001:db8::/32")], [], ip("2001:db8::1"), True, True),
    ([], [ip("0.0.0.0/0")], ip("192.0.2.1"), False, True),
    ([], [ip("0.0.0.0/0")], ip("2001:db8::1"), True, True),
    ([directory(o="Acme")], [], directory(o="Acme", cn="mail"), True, False),
    ([directory(o="Acme")], [], directory(o="ACME", cn="mail"), True, False),
    ([directory(o="Ac  me")], [], directory(o=" ac me ", cn="mail"), True, False),
    ([directory(o="Acme")], [], directory(o="Acme"), True, False),
    ([directory(o="Acme")], [], directory(cn="mail", o="Acme"), False, False),
    ([directory(o="Acme")], [], directory(o="Acmee", cn="mail"), False, False),
    ([directory(c="DE", o="Acme")], [], directory(c="DE"), False, False),
    ([], [directory(o="Acme")], directory(o="Acme", cn="mail"), False, False),
    ([], [directory(o="Acme")], directory(o="Other", cn="mail"), True, False),
    # what no constraint is about is permitted
    ([dns("acme.example")], [], email("a@b.example"), True, True),
    ([email("acme.example")], [dns("b.example")], ip("192.0.2.1"), True, True),
    # what a constraint is about that we cannot apply is not
    ([other(b"acme")], [], other(b"acme"), False, False),
    ([], [other(b"acme")], other(b"else"), False, True),
    ([other(b"acme")], [], dns("b.example"), True, True),
]  # fmt: skip


def label(case):
    permitted, excluded, name, *_ = case
    trees = [*permitted, *("not " + str(each.value) for each in excluded)]
    return f"{[getattr(each, 'value', each) for each in trees]} {name.value}"


@pytest.mark.parametrize("case", CASES, ids=label)
def test_whether_a_ca_may_vouch_for_a_name(case):
    permitted, excluded, name, expected, _ = case
    constraints = x509.NameConstraints(permitted or None, excluded or None)
    assert is_permitted(constraints, [name]) is expected


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("case", [each for each in CASES if each[4]], ids=label)
def test_openssl_agrees(tmp_path, case):
    permitted, excluded, name, expected, _ = case
    constraints = x509.NameConstraints(permitted or None, excluded or None)
    ca = Authority("CA", extensions=[(constraints, True)])
    # a subject that is no host name: openssl takes one for a DNS name
    leaf = ca.issue("no host name", extensions=[(x509.SubjectAlternativeName([name]), False)])
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    command = ["openssl", "verify", "-CAfile", "ca.pem", "leaf.pem"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, timeout=20, text=True
    )
    assert (done.returncode == 0) is expected, done.stderr


# --- which names there are


def named(*names, subject=None, san=True):
    ca = Authority("CA")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject) if subject is not None else common_name("leaf"))
        .issuer_name(ca.name)
        .public_key(ca.key.public_key())
        .serial_number(1)
        .not_valid_before(ca.cert.not_valid_before_utc)
        .not_valid_after(ca.cert.not_valid_after_utc)
    )
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    from cryptography.hazmat.primitives import hashes

    from relay.pki.certificate import Certificate

    return names_of(Certificate(builder.sign(ca.key, hashes.SHA256())))


def address(text):
    return x509.NameAttribute(NAME.EMAIL_ADDRESS, text)


def test_the_subject_counts_as_a_directory_name():
    assert named(dns("a.example")) == (dns("a.example"), x509.DirectoryName(common_name("leaf")))


def test_an_empty_subject_is_no_name():
    assert named(dns("a.example"), subject=[]) == (dns("a.example"),)


def test_an_address_in_the_subject_counts_where_there_are_no_other_names():
    names = named(subject=[address("a@acme.example")], san=False)
    assert names[-1] == email("a@acme.example")
    assert len(named(dns("a.example"), subject=[address("a@acme.example")])) == 2


def test_an_address_that_is_none_keeps_no_constraint():
    names = named(subject=[address("\u00fc@acme.example")], san=False)
    assert not is_permitted(x509.NameConstraints([email("acme.example")], None), names)
    assert is_permitted(x509.NameConstraints([dns("acme.example")], None), names)


def test_work_is_counted_before_it_is_done():
    constraints = x509.NameConstraints([dns("a.example")] * 30, [ip("192.0.2.0/24")] * 20)
    assert count_comparisons(constraints, [dns("a.example")] * 4) == 200
    assert count_comparisons(constraints, [directory(c="DE", o="Acme", cn="x")]) == 150
    assert count_comparisons(x509.NameConstraints(None, [dns("a")]), []) == 0
