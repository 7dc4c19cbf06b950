"""Lists that come in: which are kept, which are refused and with what words."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_crl

from relay.pki.crl import issuer_ids
from relay.revocation.folder import CrlFolder
from relay.revocation.intake import RefusedCrl, take_crls
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl

CA = Authority("CA")


@pytest.fixture
def folder(tmp_path):
    return CrlFolder(tmp_path)


def take(folder, data, *issuers, now=NOW, **options):
    return take_crls(data, issuers or (CA.certificate,), folder, now, **options)


def numbers(folder, issuer=CA):
    lists = folder.read().get(issuer_ids(issuer.certificate), ())
    return [each.complete.header.number for each in lists]


def test_a_good_list_is_kept(folder):
    (taken,) = take(folder, make_crl(CA, [1], number=3))
    assert (taken.is_new, taken.next_update) == (True, NOW + timedelta(days=7))
    assert numbers(folder) == [3]


def test_the_same_list_again_is_nothing_new(folder):
    data = make_crl(CA, number=3)
    take(folder, data)
    (taken,) = take(folder, data)
    assert not taken.is_new


def test_a_newer_list_replaces_an_older_and_never_the_other_way_round(folder):
    take(folder, make_crl(CA, number=3))
    take(folder, make_crl(CA, number=4))
    with pytest.raises(RefusedCrl, match="it is list 3, and the newer list 4 is in use"):
        take(folder, make_crl(CA, number=3))
    assert numbers(folder) == [4]


def test_a_stale_list_is_kept_for_whom_it_revokes(folder):
    (taken,) = take(folder, make_crl(CA, number=3), now=NOW + timedelta(days=30))
    assert taken.is_new
    assert numbers(folder) == [3]


def test_a_list_that_never_ends_is_kept(folder):
    until = NOW.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59)
    (taken,) = take(folder, make_crl(CA, number=3, until=until))
    assert taken.next_update == until


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "it is no CRL"),
        (make_crl(Authority("Other")), "it is of another CA: CN=Other"),
        (make_crl(CA, key=Authority("Forger").key), "its signature is wrong"),
        (make_crl(CA, at=NOW + timedelta(hours=1)), "it is from the future"),
        (make_crl(CA)[:-1], "cannot be read"),
    ],
)
def test_a_bad_list_is_refused(folder, data, words):
    with pytest.raises(RefusedCrl, match=words):
        take(folder, data)
    assert folder.read() == {}


def test_a_list_larger_than_allowed_is_refused(folder):
    with pytest.raises(RefusedCrl, match="larger than 100 bytes"):
        take(folder, make_crl(CA), max_bytes=100)


def test_a_ca_with_two_keys_has_two_lists(folder):
    renewed = Authority("CA")
    both = (CA.certificate, renewed.certificate)
    take(folder, make_crl(CA, number=1), *both)
    take(folder, make_crl(renewed, number=2), *both)
    assert (numbers(folder), numbers(folder, renewed)) == ([1], [2])


def test_a_file_may_have_several_lists(folder):
    other = Authority("Other")
    pem = b"".join(
        load_der_x509_crl(make_crl(each)).public_bytes(Encoding.PEM) for each in (CA, other)
    )
    assert len(take(folder, pem, CA.certificate, other.certificate)) == 2
    assert len(folder.read()) == 2
