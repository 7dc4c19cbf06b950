from __future__ import annotations

from itertools import permutations, product

import pytest

from relay.model import TrustStatus
from relay.pki.revocation import (
    Answer,
    Mode,
    Modes,
    Outcome,
    Revocation,
    RevocationVerdict,
    status_of,
)
from tests.kit.pki import Authority
from tests.kit.revocation import NOW

ROOT = Authority("Root")
MIDDLE = Authority("Middle", parent=ROOT)
LEAF = MIDDLE.issue("leaf.example").certificates[0]
PATH = (LEAF, MIDDLE.certificate, ROOT.certificate)

DECISIVE = (Outcome.REVOKED, Outcome.GOOD)
FROM_WORST = [
    Outcome(word) for word in ("revoked", "unknown", "stale", "unreachable", "no_source", "good")
]


class FakeSource:
    """Says what it is told to, and remembers whom it was asked about."""

    def __init__(self, name, **outcomes):
        self.name = name
        self.outcomes = outcomes
        self.asked = []

    def status(self, certificate, issuer, now):
        assert now == NOW
        assert certificate.issuer == issuer.subject
        self.asked.append(certificate)
        outcome = self.outcomes["leaf" if certificate == LEAF else "middle"]
        return Answer(Outcome(outcome), f"{self.name} says {outcome}")


def both(name, outcome):
    return FakeSource(name, leaf=outcome, middle=outcome)


def judge(*sources, path=PATH) -> RevocationVerdict:
    return Revocation(sources).judge(path, NOW)


# --- sources


@pytest.mark.parametrize(("first", "second"), list(product(Outcome, Outcome)))
def test_two_sources_on_one_certificate(first, second):
    crl, ocsp = both("crl", first), both("ocsp", second)
    verdict = judge(crl, ocsp, path=PATH[:2])
    if first in DECISIVE:
        assert (verdict.outcome, verdict.source) == (first, "crl")
        assert ocsp.asked == []
        assert verdict.asked == f"leaf crl={first}"
        return
    expected = second if second in DECISIVE else min(first, second, key=FROM_WORST.index)
    assert verdict.outcome is expected
    speaker = "crl" if expected is first else "ocsp"
    assert verdict.source == ("" if expected is Outcome.NO_SOURCE else speaker)
    assert verdict.reason == f"{speaker} says {expected}"
    assert verdict.asked == f"leaf crl={first} ocsp={second}"


@pytest.mark.parametrize("outcomes", list(product(Outcome, repeat=2)))
def test_the_worst_certificate_of_a_chain_counts(outcomes):
    leaf, middle = outcomes
    verdict = judge(FakeSource("crl", leaf=leaf, middle=middle))
    worst = min(outcomes, key=FROM_WORST.index)
    assert verdict.outcome is worst
    assert verdict.asked == f"leaf crl={leaf}, ca1 crl={middle}"
    is_leaf = leaf is worst
    assert verdict.reason == ("" if is_leaf else "CN=Middle: ") + f"crl says {worst}"


def test_every_certificate_but_the_anchor_is_asked_about():
    source = both("crl", "good")
    assert judge(source).outcome is Outcome.GOOD
    assert source.asked == [LEAF, MIDDLE.certificate]


@pytest.mark.parametrize("names", list(permutations(["crl", "ocsp"])))
def test_sources_are_asked_in_the_configured_order(names):
    assert judge(*(both(name, "good") for name in names)).source == names[0]


class AskingSource:
    """Knows nothing yet, and has set out to ask."""

    name = "ocsp"

    def status(self, certificate, issuer, now):
        return Answer(Outcome.UNREACHABLE, "not asked yet", question=certificate.common_name)


def test_what_is_being_asked_is_in_the_verdict():
    verdict = judge(both("crl", "stale"), AskingSource())
    assert verdict.outcome is Outcome.STALE
    assert verdict.questions == ("leaf.example", "Middle")


@pytest.mark.parametrize(
    ("leaf", "middle", "questions"),
    [("stale", "good", ("leaf.example",)), ("good", "good", ()), ("stale", "revoked", ())],
)
def test_nothing_is_left_to_ask_where_all_is_known_or_one_is_revoked(leaf, middle, questions):
    verdict = judge(FakeSource("crl", leaf=leaf, middle=middle), AskingSource())
    assert verdict.questions == questions


def test_without_any_source():
    verdict = judge()
    assert (verdict.outcome, verdict.source) == (Outcome.NO_SOURCE, "")
    assert verdict.reason == "nothing says where to ask about it"


def test_without_a_ca_nobody_is_asked():
    source = both("crl", "good")
    verdict = judge(source, path=PATH[:1])
    assert verdict.outcome is Outcome.NO_SOURCE
    assert source.asked == []


# --- modes


@pytest.mark.parametrize(("mode", "outcome"), list(product(Mode, Outcome)))
def test_what_follows_from_every_outcome_in_every_mode(mode, outcome):
    expected = {
        (Mode.HARD, Outcome.REVOKED): TrustStatus.REVOKED,
        (Mode.HARD, Outcome.UNKNOWN): TrustStatus.REVOCATION_UNKNOWN,
        (Mode.HARD, Outcome.STALE): TrustStatus.REVOCATION_UNKNOWN,
        (Mode.HARD, Outcome.UNREACHABLE): TrustStatus.REVOCATION_UNKNOWN,
        (Mode.HARD, Outcome.NO_SOURCE): TrustStatus.REVOCATION_UNKNOWN,
        (Mode.SOFT, Outcome.REVOKED): TrustStatus.REVOKED,
    }.get((mode, outcome))
    assert status_of(RevocationVerdict(outcome, "crl", ""), mode) is expected


@pytest.mark.parametrize(
    ("anchor", "default", "stated"), list(product([None, *Mode], Mode, ["", *Mode]))
)
def test_which_mode_counts(anchor, default, stated):
    by_anchor = {} if anchor is None else {ROOT.certificate.sha256: anchor}
    revocation = Revocation((), Modes(default, by_anchor))
    assert revocation.mode_for(PATH, str(stated)) is Mode(stated or anchor or default)
    # nobody vouches for it, so nobody could revoke it
    assert revocation.mode_for(PATH[:1], str(stated)) is Mode(stated or "off")


def test_the_evidence_is_flat_and_leaves_out_what_says_nothing():
    verdict = RevocationVerdict(Outcome.STALE, "crl", "it is old", "leaf crl=stale")
    assert verdict.evidence == {
        "revocation": "stale",
        "revocation_source": "crl",
        "revocation_reason": "it is old",
        "revocation_asked": "leaf crl=stale",
    }
    assert set(judge().evidence) == {"revocation", "revocation_reason"}


def test_every_outcome_has_its_rank():
    """A seventh outcome must be given its place among the others."""
    source = both("crl", "good")
    for outcome in Outcome:
        source.outcomes["leaf"] = outcome
        assert judge(source).outcome is outcome
