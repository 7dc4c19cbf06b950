"""What is weak, old or about to end: each flaw at its threshold, and none where there is none."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.model import Identity, Suspension
from relay.pki.posture import (
    HeldListDates,
    Issuer,
    Kind,
    Use,
    Used,
    flaws_of_certificate,
    flaws_of_identity,
    flaws_of_issuer,
    flaws_of_list,
    needs_client_auth,
    unused_identities,
)
from tests.kit.pki import Authority, self_signed

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = Authority("Root")
DAY = timedelta(days=1)


def flaws(issued, use=Use.LISTENER, now=NOW):
    return list(flaws_of_certificate(Used(use, "edge.pem", issued.certificates[0]), now))


def kinds(issued, use=Use.LISTENER, now=NOW):
    return [each.kind for each in flaws(issued, use, now)]


@pytest.mark.parametrize(
    ("life", "left", "expected"),
    [
        # a year's: 30 days before its end
        (365, 31, None),
        (365, 29, (Kind.EXPIRING, "in 29 days")),
        (365, 7, (Kind.EXPIRING, "in 7 days")),
        (365, 6, (Kind.EXPIRING, "in 6 days")),
        (365, 0.5, (Kind.EXPIRING, "in 12 hours")),
        (365, -0.5, (Kind.EXPIRED, "edge.pem expired on")),
        # of short life: a third of it
        (9, 3.1, None),
        (9, 2.9, (Kind.EXPIRING, "in 2 days")),
        (9, 0.7, (Kind.EXPIRING, "in 16 hours")),
        (1, 0.4, None),
        (1, 0.3, (Kind.EXPIRING, "in 7 hours")),
    ],
)
def test_an_end_is_told_in_time(life, left, expected):
    issued = ROOT.issue(days=life, not_before=NOW)
    now = NOW + timedelta(days=life) - timedelta(days=left)
    found = flaws(issued, now=now)
    assert all(each.remedy == "renew it" for each in found)
    if expected is None:
        assert found == []
    else:
        kind, words = expected
        assert [each.kind for each in found] == [kind]
        assert words in found[0].problem


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("rsa1024", "edge.pem has an RSA key of 1024 bits"),
        ("p192", "edge.pem has an EC key of 192 bits"),
        ("rsa2048", None),
        ("ec", None),
        ("ed25519", None),
    ],
)
def test_weak_keys(key, words):
    assert [each.problem for each in flaws(ROOT.issue(key=key, days=365))] == [words] * bool(words)


def test_a_weak_signature_counts_where_somebody_verifies_it():
    assert kinds(ROOT.issue(sha1=True, days=365)) == [Kind.WEAK_SIGNATURE]
    assert kinds(self_signed(sha1=True, days=365)) == []


@pytest.mark.parametrize(
    ("use", "expected"),
    [(Use.LISTENER, [Kind.OLD_KEY]), (Use.ISSUED, [Kind.OLD_KEY]), (Use.CLIENT_CA, [])],
)
def test_a_key_grows_old_but_that_of_a_ca(use, expected):
    issued = ROOT.issue(days=3650, not_before=NOW - 731 * DAY)
    assert kinds(issued, use) == expected
    assert kinds(issued, use, now=NOW - 2 * DAY) == []


def test_an_expiring_ca_has_a_remedy_of_its_own():
    (found,) = flaws(ROOT.issue(days=365, not_before=NOW - 360 * DAY), Use.CLIENT_CA)
    assert found.remedy == "get the CA's new one"


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (31, []),
        (29, [Kind.IDENTITY_ENDING]),
        (6, [Kind.IDENTITY_ENDING]),
        (0, [Kind.IDENTITY_ENDED]),
        (-9, [Kind.IDENTITY_ENDED]),
        (None, []),
    ],
)
def test_the_end_of_a_pin(left, expected):
    identity = Identity("acme", not_after=None if left is None else NOW + left * DAY)
    assert [each.kind for each in flaws_of_identity(identity, NOW)] == expected


@pytest.mark.parametrize(
    ("pins", "names", "issuers", "expected"),
    [
        ((), ("dns:a",), [ROOT.certificate], True),
        (("spki:sha256:00",), ("dns:a",), [ROOT.certificate], False),
        ((), ("dns:a",), [], False),
        ((), (), [ROOT.certificate], False),
    ],
)
def test_who_depends_on_client_auth(pins, names, issuers, expected):
    assert needs_client_auth(Identity("acme", pins=pins, names=names), issuers) is expected


def test_who_has_not_come():
    since = NOW - 90 * DAY
    identities = [
        Identity("came"),
        Identity("came-long-ago"),
        Identity("never-came"),
        Identity("suspended", suspended=Suspension("away")),
        Identity("is-new", not_before=NOW - DAY),
        Identity("ended-long-ago", not_after=since - DAY),
        Identity("ended-lately", not_after=NOW - DAY),
    ]
    seen = {"came": NOW - DAY, "came-long-ago": since - DAY}
    found = [each.name for each in unused_identities(identities, seen, since)]
    assert found == ["came-long-ago", "never-came", "ended-lately"]


@pytest.mark.parametrize(
    ("mode", "has_source", "expected"),
    [
        ("hard", False, [Kind.NO_REVOCATION_SOURCE]),
        ("soft", False, [Kind.NO_REVOCATION_SOURCE]),
        ("off", False, []),
        ("hard", True, []),
        ("soft", True, []),
    ],
)
def test_a_ca_that_nobody_can_be_asked_about(mode, has_source, expected):
    found = list(flaws_of_issuer(Issuer(ROOT.certificate, mode, has_source)))
    assert [each.kind for each in found] == expected
    assert all("CN=Root" in each.problem for each in found)


@pytest.mark.parametrize(("over", "expected"), [(59, []), (61, [Kind.STALE_LIST])])
def test_a_list_that_does_not_count_any_more(over, expected):
    held = HeldListDates("CN=Root", NOW - timedelta(minutes=over))
    found = list(flaws_of_list(held, NOW, timedelta(hours=1)))
    assert [each.kind for each in found] == expected
