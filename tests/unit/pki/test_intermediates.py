"""What is remembered of trusted chains, for sessions resumed with the leaf alone."""

from relay.pki.certificate import Certificate
from relay.pki.intermediates import Intermediates
from tests.kit.pki import Authority

ROOT = Authority("Root")
UPPER = Authority("Upper", parent=ROOT)
LOWER = Authority("Lower", parent=UPPER)
LEAF = Certificate(LOWER.issue("client").cert)


def test_the_way_up_is_found_nearest_first():
    known = Intermediates()
    assert known.add(UPPER.certificate)
    assert known.add(LOWER.certificate)
    assert known.above(LEAF) == (LOWER.certificate, UPPER.certificate)


def test_a_gap_ends_the_way():
    known = Intermediates()
    known.add(UPPER.certificate)
    assert known.above(LEAF) == ()


def test_each_is_kept_once_and_only_so_many():
    known = Intermediates(max_certificates=1)
    assert known.add(LOWER.certificate)
    assert not known.add(LOWER.certificate)
    assert not known.add(UPPER.certificate)
    assert known.above(LEAF) == (LOWER.certificate,)


def test_two_cas_of_one_name_are_both_offered():
    twin = Authority("Lower", parent=UPPER)
    known = Intermediates()
    known.add(LOWER.certificate)
    known.add(twin.certificate)
    assert set(known.above(LEAF)) == {LOWER.certificate, twin.certificate}


def test_a_circle_ends():
    known = Intermediates()
    one, other = Authority("A"), Authority("B")
    known.add(Authority("A", parent=other).certificate)
    known.add(Authority("B", parent=one).certificate)
    assert len(known.above(Certificate(one.issue("x").cert))) == 2
