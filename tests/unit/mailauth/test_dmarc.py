"""DMARC over zones as data: policies, organizations, alignment and errors (RFC 9989)."""

import asyncio

import pytest

from relay.mail.addresses import parse_address_list
from relay.mailauth.dmarc import Identifier, dns_name, evaluate, is_same_organization
from tests.kit.zones import FakeResolver

ZONES = {
    # One that asks for everything, and has subdomains with wishes of their own.
    "_dmarc.example.com": {"TXT": "v=DMARC1; p=reject; sp=quarantine; np=reject"},
    "_dmarc.mail.example.com": {"TXT": "v=DMARC1; p=none"},
    "news.example.com": {"A": "192.0.2.1"},
    "a.b.c.d.e.f.g.h.example.com": {"MX": ["10 mx.example.com"]},
    # Strict ones.
    "_dmarc.strict.example": {"TXT": "v=DMARC1; p=reject; adkim=s; aspf=s"},
    "_dmarc.strictspf.example": {"TXT": "v=DMARC1; p=reject; aspf=s"},
    "_dmarc.strictdkim.example": {"TXT": "v=DMARC1; p=reject; adkim=s"},
    # A registry that is a public suffix domain.
    "_dmarc.bank": {"TXT": "v=DMARC1; p=reject; sp=quarantine; np=reject; psd=y"},
    "_dmarc.own.bank": {"TXT": "v=DMARC1; p=none"},
    "bare.bank": {"A": "192.0.2.1"},
    # One below a registry that has forgotten psd=y: it is its own organization.
    "_dmarc.registry": {"TXT": "v=DMARC1; p=none"},
    "_dmarc.free.registry": {"TXT": "v=DMARC1; p=reject; psd=n"},
    # Wishes that are none.
    "_dmarc.test.example": {"TXT": "v=DMARC1; p=reject; t=y"},
    "_dmarc.empty.example": {"TXT": "v=DMARC1"},
    "_dmarc.typo.example": {"TXT": "v=DMARC1; p=rejekt"},
    "_dmarc.typorua.example": {"TXT": "v=DMARC1; p=rejekt; rua=mailto:d@typorua.example"},
    "_dmarc.twice.example": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]},
    "_dmarc.crowd.example": {"TXT": ["v=spf1 -all", "v=DMARC1; p=reject", "hello"]},
    "_dmarc.old.example": {"TXT": "v=DMARC1; p=reject; pct=0; rf=afrf; ri=86400"},
    "_dmarc.alias.example": {"CNAME": "_dmarc.example.com"},
    "_dmarc.quarantine.example": {"TXT": "v=DMARC1; p=quarantine"},
    "_dmarc.xn--bcher-kva.example": {"TXT": "v=DMARC1; p=reject"},
    # Records at many depths.
    "_dmarc.deep.org": {"TXT": "v=DMARC1; p=reject"},
    "_dmarc.two.x.deep.org": {"TXT": "v=DMARC1; p=quarantine"},
    "_dmarc.c.d.e.f.g.h.far.org": {"TXT": "v=DMARC1; p=reject"},
    # A broken world.
    "_dmarc.broken.example": {},
    "sub.halfbroken.example": {"A": "192.0.2.1"},
    "_dmarc.npbroken.example": {"TXT": "v=DMARC1; p=none; np=reject"},
}
FAILING = [
    "_dmarc.broken.example",
    "_dmarc.halfbroken.example",
    "gone.npbroken.example A",
    "_dmarc.flaky.example.com",
]


def one_of(text):
    """Read "+a -b ?c": identifiers that pass, fail, or might pass."""
    return [Identifier(each[1:], each[0] == "+", each[0] == "?") for each in text.split()]


def judge(author, spf="", dkim="", resolver=None):
    resolver = resolver or FakeResolver(ZONES, failing=FAILING)
    authors = parse_address_list(author if "@" in author else f"bob@{author}")
    sent = one_of(spf)
    return asyncio.run(evaluate(authors, sent[0] if sent else None, one_of(dkim), resolver))


# author, SPF, DKIM -> result, what the domain asks for, disposition, aligned by
CASES = [
    # --- the domain itself -----------------------------------------------------------------------
    ("example.com", "+example.com", "", "pass reject none spf"),
    ("example.com", "", "+example.com", "pass reject none dkim"),
    ("example.com", "+example.com", "+example.com", "pass reject none spf dkim"),
    ("example.com", "-example.com", "-example.com", "fail reject reject"),
    ("example.com", "", "", "fail reject reject"),
    ("Example.COM", "+example.com", "", "pass reject none spf"),
    ("example.com.", "+example.com", "", "permerror - none"),  # no address at all
    ("example.com", "+other.example", "+other.example", "fail reject reject"),
    ("example.com", "-example.com", "+other.example -example.com +example.com", "pass reject none dkim"),
    ("quarantine.example", "", "", "fail quarantine quarantine"),
    ("mail.example.com", "", "", "fail none none"),
    ("crowd.example", "", "", "fail reject reject"),
    ("alias.example", "", "", "fail reject reject"),
    ("bücher.example", "", "", "fail reject reject"),
    ("xn--bcher-kva.example", "+xn--bcher-kva.example", "", "pass reject none spf"),
    ("BÜCHER.example", "", "+xn--bcher-kva.example", "pass reject none dkim"),
    # --- no wish ------------------------------------------------------------------------------------
    ("nothing.example", "+nothing.example", "+nothing.example", "none - none spf dkim"),
    ("nothing.example", "+mail.nothing.example", "+mail.nothing.example", "none - none"),  # nobody says so
    ("mail.nothing.example", "+nothing.example", "?nothing.example", "none - none"),
    ("sub.nothing.example", "", "", "none - none"),
    ("empty.example", "", "", "none - none"),
    ("typo.example", "", "", "none - none"),
    ("typorua.example", "", "", "fail none none"),
    ("twice.example", "", "", "none - none"),
    ("old.example", "", "", "fail reject reject"),
    ("com", "", "", "none - none"),
    # --- trying it (t=y) -------------------------------------------------------------------------
    ("test.example", "", "", "fail reject none"),
    ("sub.test.example", "", "", "fail reject none"),
    ("test.example", "+test.example", "", "pass reject none spf"),
    # --- relaxed alignment ------------------------------------------------------------------------
    ("example.com", "+news.example.com", "", "pass reject none spf"),
    ("news.example.com", "+example.com", "", "pass quarantine none spf"),
    ("news.example.com", "+other.example.com", "", "pass quarantine none spf"),
    ("news.example.com", "", "+a.b.c.example.com", "pass quarantine none dkim"),
    ("mail.example.com", "", "+example.com", "pass none none dkim"),
    ("example.com", "", "+mail.example.com", "pass reject none dkim"),
    ("example.com", "+badexample.com", "+example.com.evil.example", "fail reject reject"),
    ("example.com", "+com", "+com", "fail reject reject"),
    ("example.com", "+example.org", "", "fail reject reject"),
    ("deep.org", "+two.x.deep.org", "", "pass reject none spf"),
    # --- strict alignment ---------------------------------------------------------------------------
    ("strict.example", "+strict.example", "", "pass reject none spf"),
    ("strict.example", "", "+strict.example", "pass reject none dkim"),
    ("strict.example", "+mail.strict.example", "+mail.strict.example", "fail reject reject"),
    ("mail.strict.example", "+strict.example", "", "fail reject reject"),
    ("mail.strict.example", "+mail.strict.example", "", "pass reject none spf"),
    ("strictspf.example", "+mail.strictspf.example", "", "fail reject reject"),
    ("strictspf.example", "", "+mail.strictspf.example", "pass reject none dkim"),
    ("strictdkim.example", "+mail.strictdkim.example", "", "pass reject none spf"),
    ("strictdkim.example", "", "+mail.strictdkim.example", "fail reject reject"),
    ("strictdkim.example", "", "+mail.strictdkim.example +strictdkim.example", "pass reject none dkim"),
    # --- subdomains: sp= and np= ----------------------------------------------------------------------
    ("news.example.com", "", "", "fail quarantine quarantine"),
    ("gone.example.com", "", "", "fail reject reject"),
    ("x.gone.example.com", "", "", "fail reject reject"),
    ("b.c.d.e.f.g.h.example.com", "", "", "fail quarantine quarantine"),  # names below it
    ("x.mail.example.com", "", "", "fail reject reject"),  # of the organization, not of mail.
    ("anything.quarantine.example", "", "", "fail quarantine quarantine"),
    ("x.typorua.example", "", "", "fail none none"),
    # --- the tree walk --------------------------------------------------------------------------------
    ("a.b.c.d.e.f.g.h.i.j.k.deep.org", "", "", "fail reject reject"),
    ("a.b.c.d.e.f.g.h.i.j.k.deep.org", "+deep.org", "", "pass reject none spf"),
    ("deep.org", "+a.b.c.d.e.f.g.h.i.j.k.deep.org", "", "pass reject none spf"),
    ("x.two.x.deep.org", "", "", "fail reject reject"),
    ("two.x.deep.org", "", "", "fail quarantine quarantine"),
    ("a.c.d.e.f.g.h.far.org", "", "", "none - none"),  # eight labels are asked for by seven, not
    ("b.a.c.d.e.f.g.h.far.org", "", "", "none - none"),
    # --- public suffix domains -----------------------------------------------------------------------
    ("bare.bank", "", "", "fail quarantine quarantine"),
    ("gone.bank", "", "", "fail reject reject"),
    ("mail.bare.bank", "+bare.bank", "", "pass reject none spf"),
    ("mail.bare.bank", "+other.bank", "", "fail reject reject"),
    ("bare.bank", "+gone.bank", "+bank", "fail quarantine quarantine"),
    ("bank", "+bank", "", "pass reject none spf"),
    ("bank", "", "", "fail reject reject"),
    ("bank", "+bare.bank", "", "fail reject reject"),
    ("own.bank", "", "", "fail none none"),
    ("own.bank", "+bare.bank", "", "fail none none"),
    ("own.bank", "+mail.own.bank", "", "pass none none spf"),
    ("mail.own.bank", "+own.bank", "", "pass none none spf"),
    ("free.registry", "+registry", "", "fail reject reject"),
    ("free.registry", "+other.registry", "", "fail reject reject"),
    ("mail.free.registry", "+free.registry", "", "pass reject none spf"),
    ("other.registry", "+third.registry", "", "pass none none spf"),  # nobody said psd=y
    # --- temporary errors -------------------------------------------------------------------------
    ("example.com", "?example.com", "", "temperror reject none"),
    ("example.com", "", "?example.com", "temperror reject none"),
    ("example.com", "?example.com", "+example.com", "pass reject none dkim"),
    ("example.com", "?other.example", "?other.example", "fail reject reject"),
    ("example.com", "?news.example.com", "", "temperror reject none"),
    ("strict.example", "?mail.strict.example", "", "fail reject reject"),
    ("broken.example", "+broken.example", "+broken.example", "temperror - none"),
    ("sub.broken.example", "", "", "temperror - none"),
    ("sub.halfbroken.example", "+sub.halfbroken.example", "", "temperror - none"),
    ("gone.npbroken.example", "", "", "temperror - none"),
    ("npbroken.example", "", "", "fail none none"),
    ("example.com", "+flaky.example.com", "", "temperror reject none"),
    ("example.com", "+flaky.example.com", "+example.com", "pass reject none dkim"),
    # --- hostile From --------------------------------------------------------------------------------
    ("a@example.com, b@example.com", "+example.com", "", "pass reject none spf"),
    ("a@example.com, b@EXAMPLE.com", "", "", "fail reject reject"),
    ("a@example.com, b@other.example", "+example.com", "+other.example", "permerror - none"),
    ("a@example.com <b@other.example>", "+other.example", "", "permerror - none"),
    ("a@[192.0.2.1]", "", "", "permerror - none"),
    ("a@example.com, b@[192.0.2.1]", "+example.com", "", "permerror - none"),
    ("a@example..com", "", "", "permerror - none"),
    ("<>", "", "", "permerror - none"),
    (f"a@{'x' * 64}.example", "", "", "permerror - none"),
    (f"a@{'x.' * 130}example", "", "", "permerror - none"),
    ("a@\u202e.example", "", "", "permerror - none"),
]  # fmt: skip


@pytest.mark.parametrize(("author", "spf", "dkim", "expected"), CASES)
def test_the_verdict(author, spf, dkim, expected):
    verdict = judge(author, spf, dkim)
    words = [
        verdict.result.value,
        verdict.policy.asks_for.value if verdict.policy else "-",
        verdict.disposition.value,
        *(name for name in ("spf", "dkim") if getattr(verdict, name)),
    ]
    assert " ".join(words) == expected
    assert bool(verdict.problem) == (verdict.result.value in {"temperror", "permerror"})


@pytest.mark.parametrize(
    ("author", "spf", "dkim", "expected"),
    [
        ("example.com", "", "", False),
        ("example.com", "", "?example.com", True),
        ("example.com", "?mail.example.com", "-example.com", True),
        ("example.com", "+example.com", "?example.com", False),  # it passes
        ("example.com", "", "?other.example", False),
        ("nothing.example", "", "?nothing.example", True),
        ("nothing.example", "?nothing.example", "+nothing.example", False),
        ("nothing.example", "", "?mail.nothing.example", False),
    ],
)
def test_whether_it_may_pass_yet(author, spf, dkim, expected):
    assert judge(author, spf, dkim).may_pass is expected


def test_there_are_at_least_eighty_of_them():
    assert len(CASES) >= 80
    assert len({(author, spf, dkim) for author, spf, dkim, _ in CASES}) == len(CASES)


def test_a_message_without_a_readable_from_has_no_domain():
    verdict = asyncio.run(evaluate(None, None, (), FakeResolver(ZONES)))
    assert (verdict.result.value, verdict.domain) == ("permerror", "")


# --- what is asked of the DNS ------------------------------------------------------------------------


def asked(author, spf="", dkim=""):
    resolver = FakeResolver(ZONES)
    judge(author, spf, dkim, resolver)
    return [name.removeprefix("_dmarc.") for name, kind in resolver.asked if kind == "TXT"]


def test_the_walk_of_the_rfc_takes_eight_questions():
    # RFC 9989 4.10, the example
    found = asked("a.b.c.d.e.f.g.h.i.j.mail.example.net")
    assert found[0] == "a.b.c.d.e.f.g.h.i.j.mail.example.net"
    assert found[1:] == [  # the first was asked for by itself before
        "a.b.c.d.e.f.g.h.i.j.mail.example.net",
        "g.h.i.j.mail.example.net",
        "h.i.j.mail.example.net",
        "i.j.mail.example.net",
        "j.mail.example.net",
        "mail.example.net",
        "example.net",
        "net",
    ]


@pytest.mark.parametrize(("labels", "questions"), [(1, 1), (2, 2), (7, 7), (8, 8), (9, 8), (40, 8)])
def test_no_walk_takes_more_than_eight(labels, questions):
    name = ".".join(f"l{n}" for n in range(labels))
    assert len(set(asked(name))) == questions


@pytest.mark.parametrize(
    ("author", "spf", "dkim", "expected"),
    [
        ("example.com", "+example.com", "+example.com", ["example.com"]),
        ("example.com", "-news.example.com", "-other.example", ["example.com"]),
        ("strict.example", "+mail.strict.example", "", ["strict.example"]),
        ("example.com", "+example.org", "+example.net", ["example.com"]),
        ("example.com", "+other.com", "", ["example.com", "example.com", "com"]),
    ],
)
def test_nothing_is_asked_that_does_not_matter(author, spf, dkim, expected):
    assert asked(author, spf, dkim) == expected


def test_a_walk_ends_at_a_public_suffix():
    zones = {"_dmarc.co.uk.example": {"TXT": "v=DMARC1; psd=y; p=none"}}
    resolver = FakeResolver(zones)
    assert asyncio.run(is_same_organization("a.b.co.uk.example", "b.co.uk.example", resolver))
    assert ("_dmarc.uk.example", "TXT") not in resolver.asked
    assert not asyncio.run(is_same_organization("a.co.uk.example", "b.co.uk.example", resolver))


def test_whether_it_exists_is_asked_only_where_np_says_something_else():
    resolver = FakeResolver(ZONES)
    judge("sub.quarantine.example", resolver=resolver)
    assert all(kind == "TXT" for _, kind in resolver.asked)
    judge("sub.example.com", resolver=resolver)
    assert ("sub.example.com", "A") in resolver.asked


def test_a_thousand_signatures_are_no_thousand_walks():
    signatures = " ".join("+x.other.com" for _ in range(1000))
    assert len(asked("example.com", dkim=signatures)) < 10


def test_a_name_too_long_for_a_record_has_none():
    name = ".".join(["x" * 49] * 5)
    assert len(name) == 249
    assert judge(name).result.value == "none"


@pytest.mark.parametrize(
    ("domain", "expected"),
    [("Example.COM.", "example.com"), ("", ""), (".", ""), ("a..b", ""), ("[192.0.2.1]", "")],
)
def test_a_domain_as_the_dns_knows_it(domain, expected):
    assert dns_name(domain) == expected
