"""Who may be sent reports (RFC 9990 4)."""

import asyncio

import pytest

from relay.errors import Unavailable
from relay.mailauth.dmarc_destinations import accepted_destinations
from relay.mailauth.dmarc_record import ReportAddress
from tests.kit.zones import FakeResolver

ZONES = {
    "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject"},
    "example.org._report._dmarc.agreed.example": {"TXT": "v=DMARC1"},
    "example.org._report._dmarc.lax.example": {"TXT": ["v=spf1 -all", "v=DMARC1;"]},
    "example.org._report._dmarc.other.example": {"TXT": "v=spf1 -all"},
    "example.org._report._dmarc.moved.example": {
        "TXT": "v=DMARC1; rua=mailto:new@moved.example!1k"
    },
    "example.org._report._dmarc.away.example": {"TXT": "v=DMARC1; rua=mailto:x@victim.example"},
    "else.example._report._dmarc.elsewhere.example": {"TXT": "v=DMARC1"},
}


def accepted(*wanted, failing=()):
    addresses = [ReportAddress(each) for each in wanted]
    resolver = FakeResolver(ZONES, failing=failing)
    found = asyncio.run(accepted_destinations("example.org", addresses, resolver))
    return [(each.mailbox, each.max_bytes) for each in found]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["d@example.org"], [("d@example.org", None)]),
        (["d@reports.example.org"], [("d@reports.example.org", None)]),
        (["d@agreed.example"], [("d@agreed.example", None)]),
        (["d@lax.example"], [("d@lax.example", None)]),
        (["d@other.example"], []),
        (["d@victim.example"], []),
        (["d@moved.example"], [("new@moved.example", 1024)]),
        (["d@away.example"], []),
        (["d@elsewhere.example"], []),
        (["d@org"], []),
        (["d@example.org", "D@example.org", "d@agreed.example"], [("d@example.org", None), ("d@agreed.example", None)]),
        ([f"d@{'x' * 60}.{'x' * 60}.{'x' * 60}.{'x' * 50}.example"], []),
        ([], []),
    ],
)  # fmt: skip
def test_who_is_sent_reports(wanted, expected):
    assert accepted(*wanted) == expected


def test_who_can_not_be_asked_now_is_asked_later():
    with pytest.raises(Unavailable):
        accepted("d@agreed.example", failing=["example.org._report._dmarc.agreed.example"])
