"""Chains: private CAs made with plain OpenSSL work, and nothing that proves anything is let off."""

import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from relay.model import TrustStatus
from relay.pki import chain
from relay.pki.certificate import Certificate, parse_pem_chain
from relay.pki.chain import MAX_INTERMEDIATES, Anchors, verify_chain
from tests.kit.pki import Authority, Issued, common_name, make_key, self_signed

NOW = datetime.now(UTC) + timedelta(hours=1)  # what is made during the tests is valid
LONG_AGO = NOW - timedelta(days=400)
TOMORROW = NOW + timedelta(days=1)
ROOT = Authority("Root")
BETWEEN = Authority("Between", parent=ROOT)


def judge(certificates, *anchors):
    return verify_chain(certificates, Anchors(anchors), NOW)


def below(issued: Issued) -> Authority:
    """An authority that a leaf has made itself."""
    pretender = Authority.__new__(Authority)
    pretender.key, pretender.name, pretender.cert = issued.key, issued.cert.subject, issued.cert
    pretender.parent = ROOT
    return pretender


def with_constraint(name):
    constraints = x509.NameConstraints([name], None)
    return Authority("Root", extensions=[(constraints, True)])


# --- paths that lead to an anchor ------------------------------------------------------------

ED_LEAF = ROOT.issue(key="ed25519")
ED_ROOT = Authority("Ed", "ed25519")
RSA_ROOT = Authority("RSA", "rsa2048")
OLD_STYLE = Authority("SHA-1 root", sha1=True)  # its own signature proves nothing anyway


@pytest.mark.parametrize(
    ("certificates", "anchors", "path"),
    [
        (ROOT.issue().certificates, [ROOT], ["client.example", "Root"]),
        (BETWEEN.issue().certificates, [ROOT], ["client.example", "Between", "Root"]),
        (BETWEEN.issue().certificates, [BETWEEN], ["client.example", "Between"]),
        (BETWEEN.issue().certificates[:1], [ROOT, BETWEEN], ["client.example", "Between"]),
        (ED_LEAF.certificates, [ROOT], ["client.example", "Root"]),
        (ED_ROOT.issue().certificates, [ED_ROOT], ["client.example", "Ed"]),
        (RSA_ROOT.issue().certificates, [ROOT, RSA_ROOT], ["client.example", "RSA"]),
        (OLD_STYLE.issue().certificates, [OLD_STYLE], ["client.example", "SHA-1 root"]),
        (ROOT.issue(key_usage=False, usages=()).certificates, [ROOT], ["client.example", "Root"]),
    ],
)
def test_a_path_is_found(certificates, anchors, path):
    verdict = judge(certificates, *(each.certificate for each in anchors))
    assert verdict.status is None
    assert [each.common_name for each in verdict.path] == path


def test_intermediates_may_come_in_any_order_with_the_root_and_strangers_among_them():
    lower = Authority("Lower", parent=BETWEEN)
    leaf, low, mid = lower.issue().certificates
    stranger = Authority("Stranger").certificate
    verdict = judge((leaf, stranger, mid, ROOT.certificate, low), ROOT.certificate)
    assert [each.common_name for each in verdict.path] == [
        "client.example",
        "Lower",
        "Between",
        "Root",
    ]


def test_an_anchor_with_the_name_of_another_does_not_hide_it():
    successor = Authority("Root")
    for authority in (ROOT, successor):
        verdict = judge(authority.issue().certificates, ROOT.certificate, successor.certificate)
        assert verdict.path[-1] == authority.certificate


def test_a_name_within_the_constraint_is_fine():
    root = with_constraint(x509.DNSName("acme.example"))
    assert (
        judge(root.issue(dns=["mail.acme.example"]).certificates, root.certificate).status is None
    )


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("algorithm", ["ec:P-256", "rsa:2048"])
def test_a_ca_of_plain_openssl_is_good_enough(tmp_path, algorithm):
    kind, _, size = algorithm.partition(":")
    parameter = f"ec_paramgen_curve:{size}" if kind == "ec" else f"rsa_keygen_bits:{size}"
    new_key = ["-newkey", kind, "-pkeyopt", parameter, "-noenc"]
    openssl(
        tmp_path, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"
    )
    openssl(
        tmp_path, "req", "-new", *new_key, "-keyout", "l.key", "-out", "l.csr", "-subj", "/CN=leaf"
    )
    (tmp_path / "san.ext").write_text("subjectAltName=DNS:mail.acme.example\n")
    openssl(tmp_path, "x509", "-req", "-in", "l.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-extfile", "san.ext", "-out", "l.pem")  # fmt: skip
    ca, leaf = (parse_pem_chain((tmp_path / name).read_bytes()) for name in ("ca.pem", "l.pem"))
    assert judge(leaf, *ca).status is None


# --- paths that do not -----------------------------------------------------------------------

EXPIRED_CA = Authority("Old", not_before=LONG_AGO, days=10)
EXPIRED_BETWEEN = Authority("Old", parent=ROOT, not_before=LONG_AGO, days=10)
YOUNG_BETWEEN = Authority("Young", parent=ROOT, not_before=TOMORROW)
SHA1_BETWEEN = Authority("Weak", parent=ROOT, sha1=True)
WEAK_BETWEEN = Authority("Weak", "rsa1024", parent=ROOT)
NARROW = Authority("Narrow", path_length=0)
CONSTRAINED = with_constraint(x509.DNSName("acme.example"))
NO_SIGNER = Authority("No signer", parent=ROOT)
CODE_CA = Authority(
    "Code", parent=ROOT,
    extensions=[(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), False)],
)  # fmt: skip
GARBLED = x509.UnrecognizedExtension(x509.NameConstraints.oid, b"\xff\xff")
UNKNOWN_CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")


def too_long():
    authority = ROOT
    for depth in range(7):
        authority = Authority(f"Depth {depth}", parent=authority)
    return authority.issue().certificates


U, E, N, W, M = (
    TrustStatus.UNTRUSTED,
    TrustStatus.EXPIRED,
    TrustStatus.NOT_YET_VALID,
    TrustStatus.WEAK_KEY,
    TrustStatus.MALFORMED,
)


@pytest.mark.parametrize(
    ("certificates", "anchors", "status", "words"),
    [
        (ROOT.issue().certificates, [], U, "no CA is trusted here"),
        (self_signed().certificates, [ROOT], U, "it is self-signed"),
        (Authority("Foreign").issue().certificates, [ROOT], U, "no trusted CA is called CN=Foreign"),
        (BETWEEN.issue().certificates[:1], [ROOT], U, "no trusted CA is called CN=Between"),
        (
            (*Authority("F", parent=(other := Authority("Other"))).issue().certificates, other.certificate),
            [ROOT], U, "no trusted CA is called CN=Other",
        ),
        (Authority("Root").issue().certificates, [ROOT], U, "a signature is wrong"),
        (below(ROOT.issue("leaf")).issue().certificates, [ROOT], U, "used as a CA and is none"),
        (Authority("Low", parent=Authority("Mid", parent=NARROW)).issue().certificates, [NARROW], U, "more CAs below it"),
        (too_long(), [ROOT], U, ""),
        (CONSTRAINED.issue(dns=["mail.other.example"]).certificates, [CONSTRAINED], U, "may not vouch for this name"),
        (ROOT.issue(extensions=[(UNKNOWN_CRITICAL, True)]).certificates, [ROOT], U, "critical extension"),
        (CODE_CA.issue().certificates, [ROOT], U, "key usage"),
        (ROOT.issue(not_before=LONG_AGO).certificates, [ROOT], E, "the certificate expired on"),
        (ROOT.issue(not_before=TOMORROW).certificates, [ROOT], N, "the certificate is not valid before"),
        (EXPIRED_CA.issue().certificates, [EXPIRED_CA], E, "CA certificate CN=Old expired"),
        (EXPIRED_BETWEEN.issue().certificates, [ROOT], E, "CA certificate CN=Old expired"),
        (YOUNG_BETWEEN.issue().certificates, [ROOT], N, "CA certificate CN=Young is not valid before"),
        (ROOT.issue(sha1=True).certificates, [ROOT], W, "the certificate is signed with a broken digest"),
        (SHA1_BETWEEN.issue().certificates, [ROOT], W, "CA certificate CN=Weak is signed with"),
        (WEAK_BETWEEN.issue().certificates, [ROOT], W, "CA certificate CN=Weak has a weak key"),
        ((BETWEEN.issue().certificates[0], Certificate(b"junk")), [ROOT], M, "cannot be read"),
    ],
)  # fmt: skip
def test_a_chain_is_refused_in_plain_words(certificates, anchors, status, words):
    verdict = judge(certificates, *(each.certificate for each in anchors))
    assert verdict.path == ()
    assert verdict.status is status
    assert words in verdict.reason
    assert "<" not in verdict.reason  # the words are ours, not the library's


def test_a_ca_that_may_not_sign_certificates_is_no_ca(tmp_path):
    openssl(tmp_path, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-addext", "keyUsage=cRLSign")  # fmt: skip
    (tmp_path / "none.ext").write_text("subjectAltName=DNS:a.example\n")
    openssl(tmp_path, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-keyout", "l.key", "-out", "l.csr", "-subj", "/CN=leaf")  # fmt: skip
    openssl(tmp_path, "x509", "-req", "-in", "l.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-extfile", "none.ext", "-out", "l.pem")  # fmt: skip
    ca, leaf = (parse_pem_chain((tmp_path / name).read_bytes()) for name in ("ca.pem", "l.pem"))
    verdict = judge(leaf, *ca)
    assert verdict.status is U
    assert "key usage" in verdict.reason


def test_a_certificate_of_version_1_is_refused(tmp_path):
    openssl(tmp_path, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")  # fmt: skip
    openssl(tmp_path, "req", "-new", "-key", "ca.key", "-out", "l.csr", "-subj", "/CN=leaf")
    openssl(
        tmp_path,
        "x509",
        "-req",
        "-in",
        "l.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-out",
        "l.pem",
    )
    ca, leaf = (parse_pem_chain((tmp_path / name).read_bytes()) for name in ("ca.pem", "l.pem"))
    verdict = judge(leaf, *ca)
    # OpenSSL 3.2 and later makes version 3 here, which is fine.
    assert (verdict.status, leaf[0].x509.version) in {(U, x509.Version.v1), (None, x509.Version.v3)}


def test_certificates_beyond_the_limit_are_not_looked_at():
    leaf, between = BETWEEN.issue().certificates
    strangers = (Authority("Stranger").certificate,) * MAX_INTERMEDIATES
    assert judge((leaf, *strangers, between), ROOT.certificate).status is U
    assert judge((leaf, *strangers[1:], between), ROOT.certificate).status is None


def test_cas_that_vouch_for_each_other_end_the_search():
    first, second = Authority("First"), Authority("Second")
    crossed = [
        x509.CertificateBuilder()
        .subject_name(common_name(subject)).issuer_name(issuer.name)
        .public_key(key.key.public_key()).serial_number(7)
        .not_valid_before(LONG_AGO).not_valid_after(TOMORROW)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(issuer.key, hashes.SHA256())
        for subject, key, issuer in (("First", first, second), ("Second", second, first))
    ]  # fmt: skip
    chain = (first.issue().certificates[0], *map(Certificate, crossed))
    assert judge(chain, ROOT.certificate).status is U


# --- work is bounded -------------------------------------------------------------------------


def cross_signed(subject, key, issuer_key, issuer="Same"):
    builder = x509.CertificateBuilder(
        common_name(issuer), common_name(subject), key.public_key(), 7, LONG_AGO, TOMORROW
    )
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return Certificate(builder.sign(issuer_key, hashes.SHA256()))


def test_cas_of_one_name_make_no_endless_work():
    keys = [make_key() for _ in range(MAX_INTERMEDIATES + 1)]
    cas = [cross_signed("Same", key, above) for key, above in pairwise(keys)]
    pretender = Authority("Same")
    pretender.key = keys[0]
    leaf = pretender.issue().certificates[0]
    verdict = judge((leaf, *reversed(cas)), Authority("Same").certificate)
    assert (verdict.status, verdict.reason) == (U, "the chain takes too much work to verify")
    # the same chain, with an end and in the order in which it is tried, is good
    assert judge((leaf, *cas), cross_signed("Same", keys[-1], keys[-1])).status is None


def test_a_signature_is_verified_once_however_many_paths_it_is_on(monkeypatch):
    """Three certificates of one CA's key, each to be tried above the same leaf and below the same CA."""
    calls = []
    verify = chain._has_signed
    monkeypatch.setattr(chain, "_has_signed", lambda *pair: calls.append(pair) or verify(*pair))
    low, high = Authority("Low"), Authority("High")
    lows = [cross_signed("Low", low.key, high.key, "High") for _ in range(3)]
    top = Authority("Top")
    bridge = cross_signed("High", high.key, top.key, "Top")
    above = cross_signed("Top", top.key, make_key(), "Nobody")
    verdict = judge((low.issue().certificates[0], *lows, bridge, above), ROOT.certificate)
    assert verdict.reason == "no trusted CA is called CN=Nobody"
    assert len(calls) == len(set(calls)) == 3 + 3 + 1


def test_more_names_and_constraints_than_anyone_needs_are_not_compared():
    subtrees = [x509.DNSName(f"{number}.example") for number in range(400)]
    root = Authority("Root", extensions=[(x509.NameConstraints(subtrees, None), True)])
    few = root.issue(dns=["a.0.example"] * 10).certificates
    many = root.issue(dns=["a.0.example"] * 40).certificates
    assert judge(few, root.certificate).status is None
    assert judge(many, root.certificate).reason == "the chain takes too much work to verify"


def test_names_are_asked_about_all_the_way_down():
    root = with_constraint(x509.DNSName("acme.example"))
    between = Authority("Between", parent=root)
    assert (
        judge(between.issue(dns=["mail.acme.example"]).certificates, root.certificate).status
        is None
    )
    verdict = judge(between.issue(dns=["mail.other.example"]).certificates, root.certificate)
    assert verdict.reason == "CN=Root may not vouch for this name"


def test_a_ca_that_has_given_itself_a_new_key_is_exempt_from_its_constraints():
    """RFC 5280 6.1.3 (b); its name is no name within the constraint."""
    root = with_constraint(x509.DirectoryName(common_name("leaf")))
    key = make_key()
    successor = Authority("Root", parent=root)
    successor.key = key
    renewed = cross_signed("Root", key, root.key, "Root")
    leaf = successor.issue("leaf").certificates[0]
    assert judge((leaf, renewed), root.certificate).status is None
    other = successor.issue("other").certificates[0]
    assert judge((other, renewed), root.certificate).reason == "CN=Root may not vouch for this name"


def test_fractions_of_the_last_second_still_count():
    """RFC 5280 4.1.2.5: dates are whole seconds, both ends included."""
    leaf = ROOT.issue().certificates
    last = leaf[0].not_after
    anchors = Anchors([ROOT.certificate])
    assert verify_chain(leaf, anchors, last + timedelta(milliseconds=999)).status is None
    assert verify_chain(leaf, anchors, last + timedelta(seconds=1)).status is E


@pytest.mark.parametrize(("max_depth", "status"), [(0, U), (1, U), (2, None)])
def test_the_depth_is_a_number_of_cas_between(max_depth, status):
    lower = Authority("Lower", parent=BETWEEN)
    verdict = verify_chain(lower.issue().certificates, Anchors([ROOT.certificate], max_depth), NOW)
    assert verdict.status is status
    assert status is None or verdict.reason == "the chain is too long"


def test_a_leaf_that_is_trusted_itself_is_no_ca():
    leaf = self_signed().certificates
    assert judge(leaf, *leaf).reason == "it is self-signed"


def test_junk_beside_a_good_path_does_no_harm():
    leaf, between = BETWEEN.issue().certificates
    garbled = Certificate(between.der[:-40] + bytes(40))
    broken = ROOT.issue("Between", ca=True, extensions=[(GARBLED, True)]).certificates[0]
    for junk in (Certificate(b"junk"), garbled, broken):
        assert judge((leaf, junk, between), ROOT.certificate).status is None
    assert judge((leaf, broken), ROOT.certificate).status is M


def test_a_leaf_that_cannot_be_read():
    assert judge((Certificate(b"junk"),), ROOT.certificate).status is M
