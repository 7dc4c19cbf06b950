from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.pki.crl import check_crl, index_crl, parse_crl
from relay.pki.crl_lookup import HeldList, delta_fault, is_covered, look_up
from relay.pki.revocation import Outcome
from relay.pki.serial_index import SerialIndex
from tests.kit.pki import Authority, common_name
from tests.kit.revocation import NOW, make_crl, point

CA = Authority("Lookup CA")
NAMESAKE = Authority("Lookup CA")
OTHER = Authority("Other CA")
URL, ELSEWHERE = "http://ca.example/1.crl", "http://ca.example/2.crl"
DAY = timedelta(days=1)


def published_at(*urls: str, **parts) -> tuple[x509.ExtensionType, bool]:
    names = [x509.UniformResourceIdentifier(each) for each in urls]
    fields = {"relative_name": None, "reasons": None, "crl_issuer": None} | parts
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, **fields)]), False


LEAF = CA.issue()
PARTED = CA.issue(extensions=[published_at(URL)])
BELOW = Authority("Below", parent=CA)


def index(ca: Authority, *revoked, **options) -> SerialIndex:
    return SerialIndex(index_crl(parse_crl(make_crl(ca, revoked, **options)), ca.certificate))


def ask(certificate, *lists, at=NOW, grace=timedelta(0), ca=CA):
    held = [each if isinstance(each, HeldList) else HeldList(each) for each in lists]
    return look_up(certificate.certificates[0], ca.certificate, held, at, grace)


def test_not_listed_is_good():
    answer = ask(LEAF, index(CA, 5))
    assert answer.outcome is Outcome.GOOD
    assert (answer.this_update, answer.next_update) == (NOW, NOW + 7 * DAY)


def test_listed_is_revoked_with_date_and_reason():
    answer = ask(LEAF, index(CA, (LEAF.cert.serial_number, "keyCompromise")))
    assert answer.outcome is Outcome.REVOKED
    assert answer.revoked_at == NOW - DAY
    assert "keyCompromise" in answer.reason


@pytest.mark.parametrize(
    ("after", "grace", "outcome"),
    [(7 * DAY, 0 * DAY, "good"), (8 * DAY, 0 * DAY, "stale"), (8 * DAY, 2 * DAY, "good")],
)
def test_a_stale_list_calls_nothing_good(after, grace, outcome):
    assert ask(LEAF, index(CA), at=NOW + after, grace=grace).outcome == outcome


def test_a_stale_list_still_revokes():
    assert ask(LEAF, index(CA, LEAF), at=NOW + 99 * DAY).outcome is Outcome.REVOKED


@pytest.mark.parametrize("ca", [OTHER, NAMESAKE], ids=["other name", "same name, other key"])
def test_the_same_serial_of_another_ca_means_nothing(ca):
    answer = ask(LEAF, index(ca, LEAF))
    assert answer.outcome is Outcome.NO_SOURCE
    assert answer.reason == "there is no CRL of CN=Lookup CA"
    assert ask(LEAF, index(ca, LEAF), index(CA)).outcome is Outcome.GOOD


def test_where_a_list_is_published_but_not_here_it_is_unreachable():
    answer = ask(PARTED)
    assert answer.outcome is Outcome.UNREACHABLE
    assert URL in answer.reason


def test_where_a_list_is_published_by_ldap_only_there_is_no_source():
    answer = ask(CA.issue(extensions=[published_at("ldap://ca.example/cn=ca")]))
    assert answer.outcome is Outcome.NO_SOURCE
    assert "LDAP" in answer.reason


# --- partitions


@pytest.mark.parametrize(
    ("certificate", "part", "is_about_it"),
    [
        (LEAF, None, True),
        (PARTED, None, True),
        (PARTED, point(URL), True),
        (PARTED, point(URL, ELSEWHERE), True),
        (PARTED, point(ELSEWHERE), False),
        (LEAF, point(URL), False),
        (LEAF, point(user=True), True),
        (LEAF, point(ca=True), False),
        (PARTED, point(URL, user=True), True),
        (PARTED, point(URL, ca=True), False),
    ],
)
def test_which_certificates_a_part_is_about(certificate, part, is_about_it):
    header = index(CA, extensions=[part] if part else []).header
    assert is_covered(certificate.certificates[0], header) is is_about_it


def test_a_list_of_cas_is_about_cas():
    header = index(CA, extensions=[point(ca=True)]).header
    assert is_covered(BELOW.certificate, header)
    assert not is_covered(BELOW.certificate, header._replace(only="user"))


def test_without_a_point_the_issuers_name_is_the_point():
    part = x509.IssuingDistributionPoint(
        [x509.DirectoryName(common_name("Lookup CA"))], None, False, False, None, False, False
    )
    assert is_covered(LEAF.certificates[0], index(CA, extensions=[(part, True)]).header)


@pytest.mark.parametrize(
    "parts",
    [
        {"reasons": frozenset({x509.ReasonFlags.key_compromise})},
        {"crl_issuer": [x509.DirectoryName(common_name("Elsewhere"))]},
    ],
    ids=["some reasons", "indirect"],
)
def test_points_that_say_too_little_do_not_match(parts):
    certificate = CA.issue(extensions=[published_at(URL, **parts)])
    assert not is_covered(certificate.certificates[0], index(CA, extensions=[point(URL)]).header)


def test_a_part_about_others_says_nothing():
    part = index(CA, PARTED, extensions=[point(ELSEWHERE)])
    assert ask(PARTED, part).outcome is Outcome.UNREACHABLE
    assert ask(LEAF, part).reason == "no CRL of CN=Lookup CA covers such certificates"
    assert ask(PARTED, part, index(CA, extensions=[point(URL)])).outcome is Outcome.GOOD


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_lists_any_may_revoke_and_a_fresh_one_may_call_good(order):
    stale, fresh, revoking = (
        index(CA, at=NOW - 9 * DAY),
        index(CA),
        index(CA, LEAF, at=NOW - 9 * DAY),
    )
    assert ask(LEAF, *(stale, fresh)[::order]).outcome is Outcome.GOOD
    assert ask(LEAF, *(stale, fresh, revoking)[::order]).outcome is Outcome.REVOKED
    assert ask(LEAF, stale).outcome is Outcome.STALE


# --- deltas


@pytest.mark.parametrize(
    ("complete", "delta", "problem"),
    [
        ({"number": 5}, {"number": 6, "base": 5}, None),
        ({"number": 5}, {"number": 9, "base": 3}, None),
        ({"number": 5}, {"number": 9, "base": 6}, "adds to list 6"),
        ({"number": 5}, {"number": 5, "base": 4}, "no more than"),
        ({"number": 5}, {"number": 4, "base": 3}, "no more than"),
        ({"number": 5}, {"number": 6}, "no delta"),
        ({"number": 5, "base": 1}, {"number": 6, "base": 5}, "no complete list"),
        ({"number": None}, {"number": 6, "base": 5}, "no complete list"),
        ({"number": 5}, {"number": 6, "base": 5, "extensions": [point(URL)]}, "other certificates"),
    ],
)
def test_which_delta_joins_which_list(complete, delta, problem):
    found = delta_fault(index(CA, **delta).header, index(CA, **complete).header)
    assert found is None if problem is None else problem in found


def test_a_delta_of_another_ca_does_not_join():
    complete, delta = index(CA, number=1).header, index(NAMESAKE, number=2, base=1).header
    assert delta_fault(delta, complete) == "it is of another CA"


SERIAL = LEAF.cert.serial_number
LATER = NOW + 3 * DAY


@pytest.mark.parametrize(
    ("in_complete", "in_delta", "delta_number", "at", "outcome"),
    [
        (None, None, 2, NOW, "good"),
        (None, "keyCompromise", 2, NOW, "revoked"),
        ("certificateHold", None, 2, NOW, "revoked"),
        ("certificateHold", "removeFromCRL", 2, NOW, "good"),
        ("certificateHold", "keyCompromise", 2, NOW, "revoked"),
        (None, "removeFromCRL", 2, NOW, "good"),
        # a delta that does not join is not looked at
        (None, "keyCompromise", 1, NOW, "good"),
        ("certificateHold", "removeFromCRL", 1, NOW, "revoked"),
        # the delta is stale, the complete list is not: a revocation counts, a removal does not
        (None, None, 2, LATER, "good"),
        (None, "keyCompromise", 2, LATER, "revoked"),
        ("certificateHold", "removeFromCRL", 2, LATER, "revoked"),
    ],
)
def test_a_delta_changes_its_list(in_complete, in_delta, delta_number, at, outcome):
    complete = index(CA, *([(SERIAL, in_complete)] if in_complete else []), number=1)
    delta = index(
        CA,
        *([(SERIAL, in_delta)] if in_delta else []),
        number=delta_number,
        base=1,
        until=NOW + DAY,
    )
    assert ask(LEAF, HeldList(complete, delta), at=at).outcome == outcome


def test_a_fresh_delta_makes_a_stale_list_fresh():
    """RFC 5280 5.2.4: together they are the complete list of the delta's time."""
    complete = index(CA, number=1, at=NOW - 9 * DAY)
    delta = index(CA, number=2, base=1)
    answer = ask(LEAF, HeldList(complete, delta))
    assert answer.outcome is Outcome.GOOD
    assert answer.this_update == NOW
    assert ask(LEAF, HeldList(complete, delta), at=NOW + 8 * DAY).outcome is Outcome.STALE


# --- `openssl verify -crl_check` on the same lists

ROOT_CA = Authority("Openssl CA")
SUBJECT = ROOT_CA.issue()
LISTED = SUBJECT.cert.serial_number
HOLD = (LISTED, "certificateHold")
AGAIN = Authority("Openssl CA")
WEEK_AGO = NOW - 8 * DAY
# openssl looks for deltas only where a list or a certificate says that there are some
FRESHEST = x509.FreshestCRL(
    [x509.DistributionPoint([x509.UniformResourceIdentifier(ELSEWHERE)], None, None, None)]
)
WITH_DELTAS = {"extensions": [(FRESHEST, False)]}

# complete lists, deltas, whether both accept the certificate; None: we do not, and openssl is not asked
SITUATIONS = {
    "not listed": ([{}], [], True),
    "listed": ([{"revoked": [LISTED]}], [], False),
    "listed with a reason": ([{"revoked": [(LISTED, "superseded")]}], [], False),
    "other serials listed": ([{"revoked": [LISTED + 1, LISTED - 1]}], [], True),
    "no list": ([], [], False),
    "stale": ([{"at": WEEK_AGO}], [], False),
    "stale and listed": ([{"at": WEEK_AGO, "revoked": [LISTED]}], [], False),
    "stale beside fresh": ([{"at": WEEK_AGO}, {"number": 2}], [], True),
    "from the future": ([{"at": NOW + DAY}], [], False),
    "a namesake's": ([{"ca": AGAIN}], [], False),
    "of users": ([{"extensions": [point(user=True)]}], [], True),
    "of CAs": ([{"extensions": [point(ca=True)]}], [], False),
    "of users, listed": ([{"extensions": [point(user=True)], "revoked": [LISTED]}], [], False),
    "of attributes": ([{"extensions": [point(attribute=True)]}], [], False),
    "of another place": ([{"extensions": [point(ELSEWHERE)]}], [], False),
    "indirect": ([{"extensions": [point(indirect=True)]}], [], None),
    "some reasons": ([{"extensions": [point(some_reasons=True)]}], [], False),
    "unknown critical extension": (
        [{"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]}],
        [], False,
    ),
    "delta without change": ([WITH_DELTAS], [{"number": 2, "base": 1}], True),
    "delta revokes": ([WITH_DELTAS], [{"number": 2, "base": 1, "revoked": [LISTED]}], False),
    "delta releases": ([WITH_DELTAS | {"revoked": [HOLD]}], [{"number": 2, "base": 1, "revoked": [(LISTED, "removeFromCRL")]}], True),
    "delta to a later list": ([WITH_DELTAS], [{"number": 9, "base": 5, "revoked": [LISTED]}], True),
    "delta before the list": ([WITH_DELTAS | {"number": 5}], [{"number": 3, "base": 1, "revoked": [LISTED]}], True),
}  # fmt: skip


def made(lists) -> list[bytes]:
    return [
        make_crl(options.get("ca", ROOT_CA), options.get("revoked", ()), **{
            key: value for key, value in options.items() if key not in {"ca", "revoked"}
        })
        for options in lists
    ]  # fmt: skip


def believed(lists) -> list[SerialIndex]:
    crls = [parse_crl(each) for each in made(lists)]
    ca = ROOT_CA.certificate
    good = [each for each in crls if check_crl(each, ca, NOW, grace=9 * DAY) is None]
    return [SerialIndex(index_crl(each, ca)) for each in good]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_our_verdict(situation):
    complete, deltas, is_accepted = SITUATIONS[situation]
    (delta,) = believed(deltas) or (None,)
    held = [HeldList(each, delta) for each in believed(complete)]
    assert (ask(SUBJECT, *held, ca=ROOT_CA).outcome is Outcome.GOOD) is bool(is_accepted)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize(
    "situation", [key for key, value in SITUATIONS.items() if value[2] is not None]
)
def test_openssl_agrees(tmp_path, situation):
    complete, deltas, is_accepted = SITUATIONS[situation]
    lists = [x509.load_der_x509_crl(each) for each in (*made(complete), *made(deltas))]
    pems = [ROOT_CA.pem, *(each.public_bytes(Encoding.PEM) for each in lists)]
    (tmp_path / "trusted.pem").write_bytes(b"".join(pems))
    (tmp_path / "leaf.pem").write_bytes(SUBJECT.pem)
    command = ["openssl", "verify", "-crl_check", "-extended_crl", "-CAfile", "trusted.pem"]
    command += ["-use_deltas"] * bool(deltas) + ["leaf.pem"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, timeout=20, text=True
    )
    assert (done.returncode == 0) is is_accepted, done.stderr
