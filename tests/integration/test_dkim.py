"""Rules on DKIM and ARC through the real binary, which asks a real name server for the keys."""

import pytest

from tests.kit.clients import send
from tests.kit.dkim import ed25519_key, record, rsa_key, short_rsa_key, signed
from tests.kit.dns_server import DnsServer, Fault
from tests.kit.relay_process import RelayProcess

RULES = """
[[rule]]
name = "dkim_later"
at = "message"
when = 'dkim.result == "temperror"'
then = "defer"
reply = "451 4.7.5 The key of the signature could not be had: {dkim.errors}"

[[rule]]
name = "dkim_none"
at = "message"
when = 'dkim.result == "none"'
then = "reject"
reply = "550 5.7.20 The message has no DKIM signature"

[[rule]]
name = "dkim_unacceptable"
at = "message"
when = 'dkim.result != "pass"'
then = "reject"
reply = "550 5.7.21 No DKIM signature is acceptable: {dkim.errors}"

[[rule]]
name = "dkim_foreign"
at = "message"
when = '!("acme.example" in dkim.domains)'
then = "reject"
reply = "550 5.7.22 The author's domain has not signed, but {dkim.domains}"
"""

MESSAGE = (
    b"From: Billing <billing@acme.example>\r\nTo: someone@dest.example\r\nSubject: Invoice\r\n"
    b"Date: Sat, 21 Nov 2026 11:59:00 +0000\r\nMessage-ID: <1@acme.example>\r\n\r\n"
    b"Dear customer,\r\n\r\n  please pay. \r\n"
)
KEYS = {
    "s1": record(rsa_key()),
    "ed": record(ed25519_key()),
    "short": record(short_rsa_key()),
    "revoked": "v=DKIM1; p=",
    "silent": record(rsa_key()),
    "long": record(rsa_key(4096)),
}


@pytest.fixture(scope="module")
def keys():
    zones = {
        f"{selector}._domainkey.acme.example": {"TXT": text} for selector, text in KEYS.items()
    }
    zones["s1._domainkey.other.example"] = {"TXT": KEYS["s1"]}
    with DnsServer(zones) as running:
        running.faults["silent._domainkey.acme.example"] = (Fault.SILENT,)
        running.faults["long._domainkey.acme.example"] = (Fault.TRUNCATED,)
        yield running


@pytest.fixture(scope="module")
def relay(site, upstream, keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relay")
    (folder / "rules.toml").write_text(RULES)
    settings = site.settings(
        upstream.port,
        listener={"policy": ["rules.toml"]},
        dns={"servers": [keys.address], "timeout": "200ms", "attempts": 2},
    )
    with RelayProcess(folder, settings, site.allowlist()) as running:
        yield running


def from_acme(message=MESSAGE, key=None, **tags):
    return signed(message, key, **{"d": "acme.example", **tags})


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (from_acme(), 250, ""),
        (from_acme(key=ed25519_key(), s="ed", c="simple/simple"), 250, ""),
        (from_acme(key=rsa_key(4096), s="long"), 250, ""),  # its record comes by TCP
        (from_acme(from_acme(), s="silent"), 250, ""),
        (from_acme(MESSAGE + b"a line  of text\r\n" * 20_000), 250, ""),
        (MESSAGE, 550, "5.7.20 The message has no DKIM signature"),
        (from_acme().replace(b"please pay", b"pay mallory"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: the body is not what was signed"),
        (from_acme(l="5"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: l= leaves 27 bytes of the body unsigned"),
        (from_acme(a="rsa-sha1"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: SHA-1 is not accepted"),
        (from_acme(key=short_rsa_key(), s="short"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: the key has only 768 bits"),
        (from_acme(s="revoked"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: the key was revoked"),
        (from_acme(s="absent"), 550, "5.7.21 No DKIM signature is acceptable: acme.example: there is no key"),
        (from_acme(d="other.example"), 550, "5.7.22 The author's domain has not signed, but other.example"),
        (from_acme(s="silent"), 451, "4.7.5 The key of the signature could not be had: acme.example: the DNS did not give the key"),
    ],
)  # fmt: skip
def test_what_a_client_is_told(site, relay, message, code, text):
    answer = send(relay.port, site.context(site.pinned), message)
    assert (answer.code, answer.text.partition(" (ref ")[0] if code != 250 else "") == (code, text)
