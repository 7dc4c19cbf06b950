"""SPF, DKIM, DMARC and ARC at a public edge, through the real binary with a real name server: what is refused, deferred and told."""

import asyncio
import time
from datetime import UTC, datetime
from email import message_from_bytes

import authres
import pytest

from relay.mail.headers import split
from relay.mailauth import arc
from relay.mailauth.arc_sealing import seal
from relay.mailauth.signing import SigningKey
from tests.kit.checks import Offloading
from tests.kit.clients import Proxied, transact
from tests.kit.dkim import record, rsa_key, signed
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.relay_process import RelayProcess
from tests.kit.site import with_public_listener
from tests.kit.zones import FakeResolver

KEY = record(rsa_key())
OURS = "192.0.2.1"
ZONES = {
    "reject.example": {"TXT": f"v=spf1 ip4:{OURS} ~all"},
    "_dmarc.reject.example": {"TXT": "v=DMARC1; p=reject; sp=none"},
    "s1._domainkey.reject.example": {"TXT": KEY},
    "news.reject.example": {"A": OURS},
    "quarantine.example": {"TXT": f"v=spf1 ip4:{OURS} ?all"},
    "_dmarc.quarantine.example": {"TXT": "v=DMARC1; p=quarantine"},
    "tried.example": {"A": OURS},
    "_dmarc.tried.example": {"TXT": "v=DMARC1; p=reject; t=y"},
    "hard.example": {"TXT": "v=spf1 -all"},
    "_dmarc.hard.example": {"TXT": "v=DMARC1; p=none"},
    "s1._domainkey.hard.example": {"TXT": KEY},
    "silent.example": {"TXT": "v=spf1 -all"},  # no DMARC
    "s1._domainkey.silent.example": {"TXT": KEY},
    "plain.example": {"A": OURS},
    "s1._domainkey.plain.example": {"TXT": KEY},
    "_dmarc.slow.example": {"TXT": "v=DMARC1; p=reject"},
    "_dmarc.wrong.example": {"TXT": "v=DMARC1; p=reject"},
    "lost.example": {"TXT": f"v=spf1 ip4:{OURS} -all"},
    "_dmarc.lost.example": {"TXT": "v=DMARC1; p=reject"},
    "s1._domainkey.lists.example": {"TXT": KEY},
    "s1._domainkey.unknown.example": {"TXT": KEY},
    "1.2.0.192.in-addr.arpa": {"PTR": "mx.reject.example"},
    "mx.reject.example": {"A": OURS},
}
STRICT = """
[[rule]]
name = "dkim_temperror"
enabled = true
[[rule]]
name = "dkim_none"
enabled = true
[[rule]]
name = "dkim_fail"
enabled = true
[[rule]]
name = "dkim_foreign"
enabled = true
[[rule]]
name = "arc_fail"
enabled = true
[[rule]]
name = "peer_unnamed"
enabled = true
"""


def message(author, extra=b""):
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").encode()
    return (
        b"From: %b\r\nTo: user@dest.example\r\nSubject: Dinner\r\nDate: %b\r\n"
        b"Message-ID: <1@x.example>\r\n%b\r\nHi.\r\n" % (author.encode(), date, extra)
    )


def by(domain, content):
    return signed(content, d=domain)


def sealed(content, domain, results):
    found = asyncio.run(
        arc.verify(split(content), FakeResolver(ZONES), Offloading(), datetime.now(UTC))
    )
    key = SigningKey(domain, "s1", rsa_key())
    return seal(split(content), found, f"{domain}; {results}", key, datetime.now(UTC)) + content


@pytest.fixture(scope="module")
def dns():
    with DnsServer(ZONES) as running:
        running.faults["_dmarc.slow.example"] = (Fault.SILENT,)
        running.faults["_dmarc.wrong.example"] = (Fault.SERVFAIL,)
        running.faults["_dmarc.lost.example"] = (Fault.TRUNCATED,)
        running.faults["s1._domainkey.lost.example"] = (Fault.SILENT,)
        yield running


def start(site, upstream, dns, folder, policy, **more):
    (folder / "strict.toml").write_text(STRICT)
    settings = site.settings(
        upstream.port,
        dns={"servers": [dns.address], "timeout": "200ms", "attempts": 2},
        checks={"arc": {"trusted_sealers": ["lists.example"]}},
        **more,
    )
    with_public_listener(settings, policy=policy)
    return RelayProcess(folder, settings, site.allowlist())


@pytest.fixture(scope="module")
def relay(site, upstream, dns, tmp_path_factory):
    with start(site, upstream, dns, tmp_path_factory.mktemp("relay"), ["defaults"]) as running:
        yield running


@pytest.fixture(scope="module")
def strict(site, upstream, dns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strict")
    with start(site, upstream, dns, folder, ["defaults", "strict.toml"]) as running:
        yield running


def send(relay, site, content, sender, address=OURS, *, certificate=None):
    with Proxied(relay.ports["public"], address) as smtp:
        smtp.starttls(context=site.context(certificate))
        smtp.ehlo("mx.reject.example")
        return transact(smtp, content, sender)


def told(answer):
    return answer.text.partition(" (ref ")[0]


FOREIGN = "192.0.2.99"


@pytest.mark.parametrize(
    ("content", "sender", "address", "code", "text"),
    [
        (message("a@reject.example"), "a@reject.example", OURS, 250, ""),
        (message("a@reject.example"), "a@news.reject.example", OURS, 550, "5.7.26 Neither SPF nor DKIM prove that reject.example"),
        (by("reject.example", message("a@reject.example")), "x@plain.example", FOREIGN, 250, ""),
        (by("plain.example", message("a@reject.example")), "x@plain.example", FOREIGN, 550, "5.7.26 Neither SPF nor DKIM prove that reject.example"),
        (message("a@reject.example"), "a@reject.example", FOREIGN, 550, "5.7.26 Neither SPF nor DKIM prove that reject.example"),
        (message("a@news.reject.example"), "x@plain.example", FOREIGN, 250, ""),  # sp=none
        (message("a@tried.example"), "x@plain.example", FOREIGN, 250, ""),  # t=y
        (message("a@plain.example"), "x@plain.example", FOREIGN, 250, ""),
        (message("Jo [ACME] <a@plain.example>"), "x@plain.example", FOREIGN, 250, ""),  # many write it, one address in all
        (message("Jo [b@reject.example] <a@plain.example>"), "x@plain.example", FOREIGN, 554, "5.6.0 The message needs one From field"),
        (message("<=?utf-8?q?b=40reject.example?=@plain.example>"), "x@plain.example", FOREIGN, 554, "5.6.0 The message needs one From field"),
        (message("a@plain.example"), "x@hard.example", FOREIGN, 550, "5.7.23 hard.example does not let 192.0.2.99"),
        (message("a@hard.example"), "a@hard.example", FOREIGN, 550, "5.7.23 hard.example does not let 192.0.2.99"),
        (by("hard.example", message("a@hard.example")), "a@hard.example", FOREIGN, 250, ""),  # forwarded
        (by("plain.example", message("a@hard.example")), "a@hard.example", FOREIGN, 550, "5.7.23 hard.example"),
        (by("silent.example", message("a@silent.example")), "a@silent.example", FOREIGN, 250, ""),  # forwarded, without DMARC
        (by("plain.example", message("a@silent.example")), "a@silent.example", FOREIGN, 550, "5.7.23 silent.example"),
        (sealed(message("a@hard.example"), "lists.example", "dmarc=pass"), "a@hard.example", FOREIGN, 250, ""),
        (sealed(message("a@hard.example"), "unknown.example", "dmarc=pass"), "a@hard.example", FOREIGN, 550, "5.7.23 hard.example"),
        (message("a@slow.example"), "x@hard.example", FOREIGN, 451, "4.7.26 What slow.example says"),  # it may pass yet
        (message("a@reject.example, b@plain.example"), "a@reject.example", OURS, 550, "5.7.1 Nobody can be asked who may write so (DMARC): From names more than one domain"),
        (message("a@reject.example") .replace(b"To:", b"From: b@plain.example\r\nTo:"), "a@reject.example", OURS, 554, "5.6.0 The message needs one From field"),
        (message("a@slow.example"), "x@plain.example", FOREIGN, 451, "4.7.26 What slow.example says"),
        (message("a@wrong.example"), "x@plain.example", FOREIGN, 451, "4.7.26 What wrong.example says"),
        (message("a@lost.example"), "a@lost.example", OURS, 250, ""),  # its policy comes by TCP
        (by("lost.example", message("a@lost.example")), "x@plain.example", FOREIGN, 451, "4.7.26 What lost.example says"),
        (by("lost.example", message("a@lost.example")), "a@lost.example", OURS, 250, ""),
        (sealed(message("a@reject.example"), "lists.example", "dmarc=pass"), "x@plain.example", FOREIGN, 250, ""),
        (sealed(message("a@reject.example"), "lists.example", "dmarc=fail"), "x@plain.example", FOREIGN, 550, "5.7.26"),
        (sealed(message("a@reject.example"), "unknown.example", "dmarc=pass"), "x@plain.example", FOREIGN, 550, "5.7.26"),
        (sealed(message("a@reject.example"), "lists.example", "dmarc=pass").replace(b"Hi", b"Ho"), "x@plain.example", FOREIGN, 550, "5.7.26"),
    ],
)  # fmt: skip
def test_what_a_stranger_is_told(site, relay, *, content, sender, address, code, text):
    answer = send(relay, site, content, sender, address)
    assert answer.code == code, answer
    assert code == 250 or told(answer).startswith(text)


def test_an_identified_sender_is_asked_nothing(site, relay, dns):
    dns.asked.clear()
    content = message("billing@acme.example")
    answer = send(relay, site, content, "billing@acme.example", FOREIGN, certificate=site.pinned)
    assert answer.code == 250
    assert not [name for _, name, kind in dns.asked if kind == "TXT"]


def test_quarantine_is_a_field(site, relay, upstream):
    content = message("a@quarantine.example", b"X-Gatepost-Quarantine: forged\r\n")
    upstream.messages.clear()
    assert send(relay, site, content, "x@plain.example", FOREIGN).code == 250
    assert send(relay, site, content, "a@quarantine.example", OURS).code == 250
    first, second = (message_from_bytes(each.content) for each in upstream.messages)
    assert first.get_all("X-Gatepost-Quarantine") == ["quarantine.example asks for it (DMARC)"]
    assert second.get_all("X-Gatepost-Quarantine") is None


@pytest.mark.parametrize(
    ("content", "address", "code", "text"),
    [
        (by("reject.example", message("a@reject.example")), OURS, 250, ""),
        (message("a@plain.example"), OURS, 550, "5.7.20 The message has no signature (DKIM)"),
        (by("plain.example", message("a@plain.example")).replace(b"Hi", b"Ho"), OURS, 550, "5.7.21 No signature is acceptable (DKIM): plain.example: the body is not what was signed"),
        (by("reject.example", message("a@plain.example")), OURS, 550, "5.7.22 plain.example has not signed its message (DKIM), but reject.example"),
        (by("lost.example", message("a@plain.example")), OURS, 451, "4.7.5 The key of the signature could not be had (DKIM)"),
        (sealed(by("plain.example", message("a@plain.example")), "lists.example", "x=y").replace(b"cv=none", b"cv=fail"), OURS, 550, "5.7.29 The chain"),
        (by("reject.example", message("a@reject.example")), FOREIGN, 550, "5.7.25 192.0.2.99 has no name in the DNS"),
    ],
)  # fmt: skip
def test_rules_that_wait_to_be_switched_on(site, strict, *, content, address, code, text):
    answer = send(strict, site, content, "x@plain.example", address)
    assert answer.code == code, answer
    assert code == 250 or told(answer).startswith(text)


def test_a_dead_name_server_costs_a_bounded_time_and_a_451(site, own_upstream, tmp_path):
    with DnsServer() as dead:
        dead.faults[""] = (Fault.SILENT,)
        with start(site, own_upstream, dead, tmp_path, ["defaults"]) as relay:
            started = time.monotonic()
            first = send(relay, site, message("a@reject.example"), "a@reject.example")
            second = send(relay, site, message("a@reject.example"), "")
            took = time.monotonic() - started
    assert first.code == 451
    assert told(first).startswith("4.7.24 What reject.example says of 192.0.2.1 (SPF)")
    assert second.code == 451
    assert took < 10
    assert not own_upstream.messages


# --- Authentication-Results ------------------------------------------------------------------------------


def results_of(stored):
    fields = message_from_bytes(stored.content).get_all("Authentication-Results") or []
    return [authres.AuthenticationResultsHeader.parse_value(field) for field in fields]


def test_what_was_found_out_is_told_the_next_hop(site, relay, upstream):
    upstream.messages.clear()
    content = by("reject.example", message("a@reject.example"))
    assert send(relay, site, content, "a@reject.example", OURS).code == 250
    (field,) = results_of(upstream.messages[0])
    assert field.authserv_id == "edge.example"
    assert {each.method: each.result for each in field.results} == {
        "tls-client": "none", "spf": "pass", "dkim": "pass", "dmarc": "pass",
    }  # fmt: skip
    (dmarc,) = (each for each in field.results if each.method == "dmarc")
    assert {(each.name, each.value) for each in dmarc.properties} == {
        ("from", "reject.example"),
        ("dmarc", "none"),
    }


def test_what_a_certificate_proves_is_told_too(site, relay, upstream):
    upstream.messages.clear()
    content = message("billing@acme.example")
    assert (
        send(relay, site, content, "billing@acme.example", OURS, certificate=site.pinned).code
        == 250
    )
    text = message_from_bytes(upstream.messages[0].content)["Authentication-Results"]
    assert text.split() == (
        "edge.example; tls-client=pass policy.identity=acme-billing policy.status=pinned".split()
    )


FORGED = (
    b"edge.example; dmarc=pass",
    b"EDGE.EXAMPLE 1; dmarc=pass",
    b'"edge.example"; dmarc=pass',
    b'"\\e\\dge.example" ; dmarc=pass',
    b"(a (nested) \\) comment)\r\n\tedge.example (x) 1 (y) ; dmarc=pass",
    b"(mx.other.example;) edge.example; dmarc=pass",
    b"edge.example",
    b"edge.example.; dmarc=pass",
    b"=?utf-8?q?edge.example?=; dmarc=pass",
    b"(unclosed edge.example; dmarc=pass",
    b"dmarc=pass header.from=reject.example",
    b"inner.example; dmarc=pass",
)


def test_forged_ones_are_gone_from_what_the_next_hop_sees(site, own_upstream, dns, tmp_path):
    own = {"own_ids": ["inner.example"]}
    names = (
        b"Authentication-Results", b"AUTHENTICATION-results", b"Authentication-Results ", b"Authentication-Results\t",
        b"Authentication-Results\x1c", b"Authentication-Results\xc2\xa0", b"Authentication-Results\r\n ",
    )  # fmt: skip
    lines = [b"%b: %b\r\n" % (name, value) for value in FORGED for name in names]
    kept = b"Authentication-Results: mx.other.example;\r\n\tspf=pass (edge.example; dmarc=pass)\r\n"
    content = message("a@reject.example", b"".join([*lines, kept]))
    with start(
        site, own_upstream, dns, tmp_path, ["defaults"], authentication_results=own
    ) as relay:
        assert send(relay, site, content, "a@reject.example", OURS).code == 250
    (stored,) = own_upstream.messages
    fields = results_of(stored)
    assert [field.authserv_id for field in fields] == ["edge.example", "mx.other.example"]
    assert kept in stored.content
    assert stored.content.count(b"dmarc=pass") == 2  # ours, and within a comment of another
    assert stored.body == b"Hi.\r\n"
