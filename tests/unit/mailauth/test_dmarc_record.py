"""Records: what is one, what it says, and what mistakes in it are worth (RFC 9989 4.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mailauth.dmarc_record import (
    Disposition,
    DmarcRecord,
    Psd,
    ReportAddress,
    parse_dmarc_record,
)

NONE, QUARANTINE, REJECT = Disposition
RUA = "rua=mailto:d@example.org"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p=reject",
        "v=DMARC2; p=reject",
        "v=dmarc1; p=reject",
        "v=DMARC1a; p=reject",
        "v=DMARC1 p=reject",
        "p=reject; v=DMARC1",
        " v=DMARC1; p=reject",
        "v=spf1 -all",
        ";v=DMARC1;p=none",
    ],
)
def test_what_is_no_record(text):
    assert parse_dmarc_record(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=DMARC1; p=none", (NONE, None, None)),
        ("v=DMARC1;p=reject", (REJECT, None, None)),
        ("v = DMARC1 ; p = quarantine ;", (QUARANTINE, None, None)),
        ("V=DMARC1; P=Reject; SP=None", (REJECT, NONE, None)),
        ("v=DMARC1; sp=none; np=reject; p=quarantine", (QUARANTINE, NONE, REJECT)),
        ("v=DMARC1; p=reject; p=none", (REJECT, None, None)),
        ("v=DMARC1; unknown=1; !!; =; p=reject; x", (REJECT, None, None)),
        ("v=DMARC1; p=reject; pct=0; rf=afrf; ri=1", (REJECT, None, None)),
        ("v=DMARC1", (None, None, None)),
        ("v=DMARC1; p=refuse", (None, None, None)),
        ("v=DMARC1; p=reject; sp=refuse", (None, None, None)),
        ("v=DMARC1; p=reject; np=", (None, None, None)),
        (f"v=DMARC1; {RUA}", (NONE, None, None)),
        (f"v=DMARC1; p=refuse; {RUA}", (NONE, None, None)),
        (f"v=DMARC1; p=reject; sp=refuse; np=reject; {RUA}", (NONE, None, None)),
        ("v=DMARC1; p=refuse; rua=https://example.org/dmarc", (NONE, None, None)),
        ("v=DMARC1; p=refuse; rua=d@example.org", (None, None, None)),
    ],
)  # fmt: skip
def test_what_a_record_asks_for(text, expected):
    record = parse_dmarc_record(text)
    assert (record.policy, record.subdomain_policy, record.absent_policy) == expected


@pytest.mark.parametrize(
    ("tags", "name", "expected"),
    [
        ("adkim=s", "strict_dkim", True),
        ("adkim=r", "strict_dkim", False),
        ("adkim=strict", "strict_dkim", False),
        ("aspf=S", "strict_spf", True),
        ("aspf=", "strict_spf", False),
        ("psd=y", "psd", Psd.YES),
        ("psd=N", "psd", Psd.NO),
        ("psd=yes", "psd", Psd.UNSAID),
        ("t=y", "is_test", True),
        ("t=n", "is_test", False),
        ("t=1", "is_test", False),
        ("fo=1:d", "options", "1:d"),
        ("fo=<b>", "options", "0"),
        ("", "options", "0"),
    ],
)
def test_the_other_tags(tags, name, expected):
    assert getattr(parse_dmarc_record(f"v=DMARC1; p=none; {tags}"), name) == expected


@pytest.mark.parametrize(
    ("rua", "expected"),
    [
        ("mailto:d@example.org", [("d@example.org", None)]),
        ("MAILTO:D@Example.ORG", [("D@Example.ORG", None)]),
        ("mailto:a@example.org , mailto:b@example.net!10m", [("a@example.org", None), ("b@example.net", 10 * 2**20)]),
        ("mailto:a@example.org!500", [("a@example.org", 500)]),
        ("mailto:a@example.org!1k,x", [("a@example.org", 1024)]),
        ("mailto:a%2Bb@example.org", [("a+b@example.org", None)]),
        ("mailto:a@example.org?subject=x", [("a@example.org", None)]),
        ("https://example.org/", []),
        ("mailto:a@localhost", []),
        ("mailto:a@b@example.org", []),
        ("mailto:a%0d%0aRCPT@example.org", []),
        ("mailto:%22a%20b%22@example.org", []),
        ("mailto:a@example.org!1x", []),
        ("", []),
        (",".join(f"mailto:{n}@example.org" for n in range(9)), [(f"{n}@example.org", None) for n in range(5)]),
    ],
)  # fmt: skip
def test_who_wants_reports(rua, expected):
    record = parse_dmarc_record(f"v=DMARC1; p=none; rua={rua}")
    assert record.report_to == tuple(ReportAddress(*each) for each in expected)


@pytest.mark.parametrize(
    ("tags", "own", "exists", "expected"),
    [
        ("p=reject; sp=none; np=quarantine", True, True, REJECT),
        ("p=reject; sp=none; np=quarantine", True, False, REJECT),
        ("p=reject; sp=none; np=quarantine", False, True, NONE),
        ("p=reject; sp=none; np=quarantine", False, False, QUARANTINE),
        ("p=reject; sp=none", False, False, NONE),
        ("p=reject", False, False, REJECT),
        ("p=none; np=reject", False, True, NONE),
    ],
)
def test_for_whom_it_asks(tags, own, exists, expected):
    assert parse_dmarc_record(f"v=DMARC1; {tags}").applied_to(own=own, exists=exists) is expected


@pytest.mark.timeout(
    10
)  # the time once grew by the cube of the blanks: 4 s for 1,600 of them, minutes for these
@pytest.mark.parametrize(
    "shape", ["p={}\x7f", "p{}", "{}=none", "p=a{}b\x7f", "rua=mailto:{}", "fo=0{}"]
)
@pytest.mark.parametrize("filling", [" ", "\t", " \t", "a", "=", ":0", ",", "a.", "!1"])
def test_no_record_takes_long(shape, filling):
    assert parse_dmarc_record(f"v=DMARC1; {shape.format(filling * 16_000)}") is not None


@given(st.text(alphabet="vDMARC1=; psnt:mailto@,!%\x00é\udcff", max_size=60))
def test_whatever_it_says_it_is_read_or_not(rest):
    record = parse_dmarc_record(f"v=DMARC1;{rest}")
    assert isinstance(record, DmarcRecord)
    for address in record.report_to:
        assert str(address.mailbox).isprintable()
        assert address.domain
