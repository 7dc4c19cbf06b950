"""The cookbook of docs/policy.md through the real binary: each edition as it is printed there, met and not met."""

import re
import ssl
from pathlib import Path

import pytest

from tests.kit import clients
from tests.kit.clients import MESSAGE, Proxied
from tests.kit.dns_server import DnsServer
from tests.kit.relay_process import RelayProcess
from tests.kit.site import RECIPIENT, SENDER, with_public_listener

MANUAL = (Path(__file__).parents[2] / "docs/policy.md").read_text()
LISTED, CLEAN = "198.51.100.66", "198.51.100.67"
ZONES = {
    "2.0.0.127.ip.example": {"A": "127.0.0.2"},
    "66.100.51.198.ip.example": {"A": "127.0.0.2"},
    "66.100.51.198.grey.example": {"A": "127.0.0.2"},
    "2.0.0.127.grey.example": {"A": "127.0.0.2"},
}


def edition(title):
    """The policy file of one section of the cookbook."""
    (section,) = re.findall(rf"^### {title}.*?(?=^##)", MANUAL, re.DOTALL | re.MULTILINE)
    (rules,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    return rules


def started(folder, settings, rules, allowlist, path="policy/own.toml"):
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(rules)
    return RelayProcess(folder, settings, allowlist)


# --- partner edge ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def partners(site, upstream, tmp_path_factory):
    listener = {"client_certificate": "required", "policy": ["defaults", "policy/own.toml"]}
    settings = site.settings(upstream.port, listener=listener)
    folder = tmp_path_factory.mktemp("partners")
    with started(folder, settings, edition("Partner edge"), site.allowlist()) as running:
        yield running


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        (ssl.TLSVersion.TLSv1_3, 250, "2.0.0 "),
        (ssl.TLSVersion.TLSv1_2, 550, "5.7.10 TLS 1.3 is needed here, this is TLSv1.2"),
    ],
    ids=["TLS 1.3", "TLS 1.2"],
)
def test_partners_are_held_to_the_tls_that_is_wanted(version, code, text, partners, site):
    context = site.context(site.pinned)
    context.maximum_version = version
    answer = clients.send(partners.port, context)
    assert (answer.code, answer.text[: len(text)]) == (code, text)


@pytest.mark.parametrize("who", ["unpinned", "nobody"])
def test_nobody_else_gets_past_mail(who, partners, site):
    known = None if who == "nobody" else site.unpinned
    assert clients.send(partners.port, site.context(known)).code == 421


# --- public edge ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public(site, upstream, tmp_path_factory):
    with DnsServer(ZONES) as dns:
        lists = [{"zone": "ip.example"}, {"zone": "grey.example", "weight": 0.5}]
        settings = site.settings(
            upstream.port, dns={"servers": [dns.address]}, checks={"dnsbl": {"list": lists}}
        )
        with_public_listener(settings, policy=["defaults", "policy/own.toml"])
        folder = tmp_path_factory.mktemp("public")
        with started(folder, settings, edition("Public edge"), site.allowlist()) as running:
            yield running


def arrived(relay, site, upstream, peer, *, known=None, content=MESSAGE):
    """Send from an address; the X-Listed fields that the next hop sees."""
    with Proxied(relay.ports["public"], peer) as smtp:
        smtp.ehlo("mx.strange.example")
        smtp.starttls(context=site.context(known))
        smtp.ehlo("mx.strange.example")
        answer = clients.transact(smtp, content, SENDER if known else "a@strange.example")
        assert answer.code == 250
    header = upstream.messages[-1].content.partition(b"\r\n\r\n")[0]
    return re.findall(rb"^X-Listed: (.*)\r", header, re.MULTILINE)


def test_who_is_listed_is_marked_instead_of_refused(public, site, upstream):
    assert arrived(public, site, upstream, LISTED) == [b"ip.example, grey.example (1.5)"]
    assert arrived(public, site, upstream, CLEAN) == []


def test_who_is_known_is_not_marked_and_nobody_marks_himself(public, site, upstream):
    assert arrived(public, site, upstream, LISTED, known=site.pinned) == []
    forged = b"X-Listed: nowhere\r\n" + MESSAGE
    assert arrived(public, site, upstream, CLEAN, content=forged) == []


def test_the_defaults_are_in_force_with_it(public, site):
    with Proxied(public.ports["public"], CLEAN) as smtp:
        smtp.ehlo("edge.example")
        smtp.starttls(context=site.context())
        smtp.ehlo("edge.example")
        code, text = smtp.mail("a@strange.example")
    assert (code, text[:29]) == (550, b"5.7.1 edge.example is this ho")


# --- internal and outbound ------------------------------------------------------------------


@pytest.fixture(scope="module")
def services(site, upstream, tmp_path_factory):
    """Two services: the rules of the one stand in a file of its own, the other has none."""
    listener = {"client_certificate": "required"}
    settings = site.settings(upstream.port, listener=listener, limits={"max_recipients": 100})
    allowlist = site.allowlist('tier = "new"\npolicy = ["policy/newsletter.toml"]\n') + (
        f'[[identity]]\nname = "other"\npins = ["{site.unpinned.pin}"]\n'
        'senders = ["@acme.example"]\ntier = "new"\n'
    )
    folder = tmp_path_factory.mktemp("services")
    rules = edition("Internal and outbound")
    with started(folder, settings, rules, allowlist, "policy/newsletter.toml") as running:
        yield running


@pytest.mark.parametrize(
    ("recipient", "who", "code"),
    [
        ("user@example.org", "pinned", 250),
        (RECIPIENT, "pinned", 550),
        (RECIPIENT, "unpinned", 250),
    ],
    ids=["inside", "outside", "another service"],
)
def test_a_new_service_stays_inside(recipient, who, code, services, site):
    context = site.context(getattr(site, who))
    answer = clients.send(services.port, context, recipients=[recipient])
    assert answer.code == code
    if code != 250:
        assert answer.text.startswith("5.7.1 acme-billing is new, and writes to example.org only")


@pytest.mark.parametrize(
    ("size", "recipients", "code"), [(10_000_001, 51, 451), (10_000_001, 50, 250), (1_000, 51, 250)]
)
def test_large_mail_to_many_is_for_later(size, recipients, code, services, site):
    content = MESSAGE + b"0123456789abcdef\r\n" * (size // 18)
    to = [f"u{number}@example.org" for number in range(recipients)]
    answer = clients.send(services.port, site.context(site.pinned), content, recipients=to)
    assert answer.code == code
    if code != 250:
        assert re.match(r"4\.7\.1 Send a link instead of \d+ bytes to 51 recip", answer.text)
