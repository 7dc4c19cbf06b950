"""The default policy on messages of strangers: which rule decides, and what is only noted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from relay import catalogue
from relay.inbound.judging import Judging, Panel
from relay.model import Identity
from relay.policy.check import Check
from relay.policy.facts import Stage
from relay.policy_files import load_policies
from tests.kit.checks import message_case, tools
from tests.kit.clock import FakeClock
from tests.kit.dkim import record, rsa_key, signed
from tests.kit.files import OLE, PE, message_with, with_encryption_flags, zipped
from tests.kit.services import RecordingAudit
from tests.kit.zones import FakeResolver

NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
CHECKS = (
    "identity",
    "message",
    "mime",
    "attachment",
    "uri",
    "hello",
    "spf",
    "dkim",
    "arc",
    "dmarc",
    "rate",
    "reputation",
    "peer",
)
MACRO = OLE + "_VBA_PROJECT".encode("utf-16-le")
SOUND = message_with({})


@pytest.fixture(scope="module")
def engine():
    (found,) = load_policies({"public": ("defaults",)}, lambda _: "").engines.values()
    return found


def judge(
    engine, message, *, identity=None, stage=Stage.MESSAGE, hello="mx.example.com", resolver=None
):
    modules = catalogue.check_modules()
    hands = tools(resolver, clock=FakeClock(NOW))
    made = {name: modules[name].build(modules[name].Settings(), hands) for name in CHECKS}
    panel = Panel(
        catalogue.facts(),
        {name: check for name, check in made.items() if isinstance(check, Check)},
        {name: check for name, check in made.items() if not isinstance(check, Check)},
        dict.fromkeys(CHECKS, timedelta(seconds=5)),
    )
    case = message_case(message)
    case.identity = identity
    case.hello = hello
    audit = RecordingAudit()
    judging = Judging(panel, case, audit)
    verdict = asyncio.run(judging.judge(engine, stage))
    assert not audit.faults
    return verdict, judging


def without(field):
    lines = SOUND.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(field))


REFUSED = [
    (
        SOUND.replace(b"From: ", b"From: eve@evil.example, "), "dmarc_author", "550 5.7.1",
    ),
    (without(b"From"), "message_no_author", "554 5.6.0"),
    (b"From: eve@example.com\r\n" + SOUND, "message_no_author", "554 5.6.0"),
    (b"Subject: again\r\n" + SOUND, "message_duplicate", "554 5.6.0"),
    (SOUND.replace(b"Content-Type: text/plain\r\n\r\n", b"Content-Type: message/rfc822\r\n\r\n" * 60),
     "mime_too_much", "554 5.6.0"),
    (message_with({str(number): b"" for number in range(1001)}), "mime_too_much", "554 5.6.0"),
    (message_with({"setup.exe": PE}), "attachment_executable", "554 5.7.1"),
    (message_with({"setup.zip": zipped({"setup.js": b"x"})}), "attachment_executable", "554 5.7.1"),
    (message_with({"zeros.zip": zipped({"0": b"\0" * 150_000_000})}), "attachment_bomb", "554 5.7.1"),
    (message_with({"invoice\u202efdp.exe": b"x"}), "attachment_executable", "554 5.7.1"),
]  # fmt: skip
NOTED = [
    (without(b"Date"), "message_date"),
    (SOUND.replace(b"21 Nov 2026", b"30 Nov 2026"), "message_date"),
    (message_with({"report.doc": MACRO}), "attachment_macro"),
    (message_with({"x.zip": with_encryption_flags(zipped({"x": b"x"}))}), "attachment_encrypted"),
]
TAGGED = [
    (SOUND.replace(b"\r\nSubject:", b"\r\nSubject :"), "X-Gatepost-Defects", "blank_before_colon"),
    (SOUND.replace(b"--frontier--", b""), "X-Gatepost-MIME-Defects", "unclosed"),
]
PASSED = [
    SOUND,
    message_with({"report.pdf": b"%PDF-1.7", "photo.png": b"\x89PNG", "notes.zip": zipped({"a": b"b"})}),
    message_with({}, text=b"See https://www.example.org/ and write to mailto:bob@example.net\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "rule", "code"), REFUSED)
def test_what_is_refused(engine, message, rule, code):
    verdict, _ = judge(engine, message)
    assert (verdict.rule, f"{verdict.reply.code} {verdict.reply.enhanced}") == (rule, code)


@pytest.mark.parametrize(("message", "rule"), NOTED)
def test_what_is_noted_only(engine, message, rule):
    verdict, judging = judge(engine, message)
    assert verdict.is_compliant
    assert judging.shadow == (rule,)


@pytest.mark.parametrize(("message", "header", "value"), TAGGED)
def test_what_is_tagged(engine, message, header, value):
    verdict, judging = judge(engine, message)
    assert verdict.is_compliant
    assert judging.tags == ((header, value),)


@pytest.mark.parametrize("message", PASSED)
def test_what_passes(engine, message):
    verdict, judging = judge(engine, message)
    assert (verdict.is_compliant, judging.shadow, judging.tags) == (True, (), ())


@pytest.mark.parametrize("message", [message for message, *_ in REFUSED + NOTED + TAGGED])
def test_an_identified_sender_is_not_held_up(engine, message):
    verdict, judging = judge(engine, message, identity=Identity("acme"))
    assert (verdict.is_compliant, judging.shadow, judging.tags) == (True, (), ())


def test_what_neighbours_have_done_makes_a_client_wait_and_no_more(engine):
    """Anybody can have a large provider's mail refused a hundred times: no mail may be lost by that."""
    facts = {
        "peer.is_local": False,
        "peer.network": "192.0.2.0/24",
        "rate.connect_exceeded": False,
        "reputation.network": -100.0,
    }
    verdict = engine.judge(Stage.CONNECT, facts)
    assert verdict.rule == "reputation_network"
    assert verdict.reply.is_transient
    assert verdict.sanction is None


SPF_FAILS = {
    "example.org": {"TXT": "v=spf1 -all"},
    "s1._domainkey.example.org": {"TXT": record(rsa_key())},
    "s1._domainkey.mail.example.org": {"TXT": record(rsa_key())},
    "s1._domainkey.example.net": {"TXT": record(rsa_key())},
}
WITH_DMARC = SPF_FAILS | {"_dmarc.example.org": {"TXT": "v=DMARC1; p=none"}}
KEY = "s1._domainkey.example.org"


@pytest.mark.parametrize(
    ("zones", "message", "failing", "rule"),
    [
        (WITH_DMARC, SOUND, [], "spf_fail"),
        (WITH_DMARC, signed(SOUND), [], ""),  # forwarded as it was
        (WITH_DMARC, signed(SOUND, d="mail.example.org"), [], ""),  # of the same organization
        (WITH_DMARC, signed(SOUND, d="example.net"), [], "spf_fail"),
        (WITH_DMARC, signed(SOUND).replace(b"Subject: ", b"Subject: Re: "), [], "spf_fail"),
        (WITH_DMARC, SOUND, ["_dmarc.example.org"], "dmarc_temperror"),  # it may pass yet
        (WITH_DMARC, signed(SOUND), [KEY], "dmarc_temperror"),
        (SPF_FAILS, SOUND, [], "spf_fail"),
        (SPF_FAILS, signed(SOUND), [], ""),
        (SPF_FAILS, signed(SOUND, d="mail.example.org"), [], "spf_fail"),  # nobody says that it is
        (SPF_FAILS, signed(SOUND, d="example.net"), [], "spf_fail"),
        (SPF_FAILS, signed(SOUND, d="example.net"), [KEY], "spf_fail"),
        (SPF_FAILS, signed(SOUND).replace(b"Subject: ", b"Subject: Re: "), [], "spf_fail"),
        (SPF_FAILS, signed(SOUND, l="0"), [], "spf_fail"),  # anybody could have written the rest
        (SPF_FAILS, signed(SOUND), [KEY], "spf_fail_temperror"),
        (SPF_FAILS, SOUND.replace(b"From: ", b"From: eve@example.net, "), [], "dmarc_author"),
    ],
)
def test_an_spf_fail_is_made_good_by_a_signature_of_the_authors_domain(
    engine, zones, message, failing, rule
):
    verdict, _ = judge(engine, message, resolver=FakeResolver(zones, failing=failing))
    assert verdict.rule == rule
