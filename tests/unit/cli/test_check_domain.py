"""`gatepost check domain`: what is said, and the exit code."""

from __future__ import annotations

import pytest

from tests.kit.command_line import gatepost
from tests.kit.dkim import ed25519_key, record
from tests.kit.dns_server import DnsServer, Fault

ZONES = {
    "quiet.example": {"TXT": "v=spf1 -all", "MX": "0 ."},
    "_dmarc.quiet.example": {"TXT": "v=DMARC1; p=reject; rua=mailto:d@mail.example"},
    "quiet.example._report._dmarc.mail.example": {"TXT": "v=DMARC1"},
    "mail.example": {"MX": "0 mx.mail.example"},
    "mx.mail.example": {"A": "192.0.2.1"},
    "s1._domainkey.quiet.example": {"TXT": record(ed25519_key())},
    "loose.example": {"TXT": "v=spf1 +all", "MX": "0 ."},
}


@pytest.fixture
def config(tmp_path):
    with DnsServer(ZONES) as server:
        server.faults["lost.example"] = (Fault.SERVFAIL,)
        path = tmp_path / "gatepost.toml"
        path.write_text(
            'hostname = "edge.example.org"\n'
            f'[dns]\nservers = ["{server.address}"]\nattempts = 1\n'
            '[route."*"]\nhosts = ["mx.example.org"]\n'
            '[[listener]]\nname = "partners"\naddress = "127.0.0.1:2525"\n'
            'certificate = [{ chain = "edge.pem", key = "edge.key" }]\n'
            '[[dkim.key]]\ndomain = "quiet.example"\nselector = "s1"\nkey = "s1.pem"\n'
        )
        yield path


def check(config, *arguments):
    return gatepost("check", "domain", *arguments, "--config", config)


def test_a_domain_that_is_well(config):
    outcome = check(config, "quiet.example")
    assert (outcome.code, outcome.errors) == (0, "")
    assert "ok      dkim: s1: Ed25519" in outcome.output  # the relay's own key


def test_findings(config):
    outcome = check(config, "loose.example", "quiet.example", "--json")
    assert outcome.code == 1
    loose, quiet = outcome.json
    assert (loose["domain"], quiet["domain"]) == ("loose.example", "quiet.example")
    assert {"level": "error", "topic": "dmarc", "text": "there is no DMARC record"} in loose[
        "findings"
    ]
    assert {each["level"] for each in quiet["findings"]} == {"ok"}


def test_selectors_that_must_be_there(config):
    outcome = check(config, "quiet.example", "--selector", "gone")
    assert outcome.code == 1
    assert "error   dkim: gone: there is no key" in outcome.output


def test_a_domain_that_can_not_be_examined(config):
    outcome = check(config, "lost.example", "loose.example")
    assert outcome.code == 2
    assert "could not be examined: DNS: lost.example MX" in outcome.output


@pytest.mark.parametrize("name", ["not a domain", "user@example.org", "", "."])
def test_what_is_no_domain(config, name):
    outcome = check(config, name)
    assert outcome.code == 2
    assert "is no domain" in outcome.errors


def test_the_check_of_the_configuration_takes_its_options_as_before(config):
    outcome = gatepost("check", "--config", config, "--json")
    assert outcome.code == 2
    assert "s1.pem" in outcome.output
