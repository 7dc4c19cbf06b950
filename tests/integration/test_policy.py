"""The operator's rules, case by case, through the real binary: reply, and what the audit trail knows."""

import pytest

from tests.kit import clients

RULES = """
[[rule]]
name = "no_newsletters"
at = "sender"
when = 'identity.known && sender.local.startsWith("newsletter")'
then = "reject"
reply = "550 5.7.1 {identity.name} may not send newsletters as {sender.domain}"
"""


@pytest.fixture(scope="module")
def relay(site, upstream, tmp_path_factory):
    from tests.kit.relay_process import RelayProcess

    folder = tmp_path_factory.mktemp("relay")
    (folder / "rules.toml").write_text(RULES)
    settings = site.settings(upstream.port, listener={"policy": ["defaults", "rules.toml"]})
    with RelayProcess(folder, settings, site.allowlist()) as running:
        yield running


def test_a_rule_refuses(site, relay):
    answer = clients.send(relay.port, site.context(site.pinned), sender="newsletter@acme.example")
    assert (answer.code, answer.text.partition(" (ref")[0]) == (
        550,
        "5.7.1 acme-billing may not send newsletters as acme.example",
    )
    record = relay.wait_for_audit(kind="refusal", reference=answer.reference)
    assert record["rule"] == "no_newsletters"
    assert record["facts"]["sender.local"] == "newsletter"


def test_who_breaks_no_rule_passes(site, relay):
    answer = clients.send(relay.port, site.context(site.pinned))
    assert answer.code == 250
    record = relay.wait_for_audit(kind="transaction")
    assert record["facts"]["identity.known"] is True
