"""Evidence in words: every cause has its advice, and an unpinned key its command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relay.cli.explain import advise, pin_command, tell
from relay.cli.main import app
from relay.model import TrustStatus

PIN = "spki:sha256:" + "ab" * 32
HANDSHAKE: dict[str, Any] = {
    "time": "2026-11-21T04:00:00.000Z",
    "kind": "handshake",
    "reference": "7K3M9QX2WZ4A",
    "session": "7K3M9QX2WZ4A",
    "listener": "partners",
    "peer_address": "192.0.2.1",
    "peer_port": 4711,
    "tls_version": "TLSv1.3",
    "tls_cipher": "TLS_AES_256_GCM_SHA384",
    "status": "unpinned",
    "reason": "no identity has its key or one of its names",
    "spki": PIN,
    "subject": "CN=Mail of Acme,O=Acme",
    "rule": "trust",
    "reply": "421 4.7.1 Client certificate not on the allowlist (ref 7K3M9QX2WZ4A)",
}
TRANSACTION = {
    "kind": "transaction",
    "reference": "TRANSACTION1",
    "session": "7K3M9QX2WZ4A",
    "sender": "",
    "recipients": ["a@example.org", "b@example.org"],
    "outcome": "delivered",
    "reply": "250 2.0.0 Ok",
}
REFUSED = {TrustStatus.PINNED, TrustStatus.NAMED} ^ set(TrustStatus)


@pytest.mark.parametrize("status", sorted(REFUSED))
def test_every_status_that_refuses_has_advice(status: TrustStatus) -> None:
    assert advise([{**HANDSHAKE, "status": status.value}]).endswith((".", ":"))


def test_a_session_that_was_ended_is_explained_by_its_end() -> None:
    lost = {**HANDSHAKE, "kind": "refusal", "identity": "acme"}
    admitted = {**HANDSHAKE, "status": "pinned", "identity": "acme"}
    assert "not on the allowlist" in advise([admitted, lost])
    assert pin_command([admitted, lost], None) == f"gatepost pin add acme --pin {PIN}"
    suspended = {**lost, "status": "suspended", "reason": "suspended by eve: key stolen"}
    assert "`gatepost pin restore`" in advise([admitted, suspended])
    assert any("suspended by eve: key stolen" in line for line in tell(suspended))


@pytest.mark.parametrize("status", [TrustStatus.PINNED, TrustStatus.NAMED])
def test_who_was_let_in_needs_no_advice(status: TrustStatus) -> None:
    record = {**HANDSHAKE, "status": status.value}
    assert advise([record]) == ""
    assert pin_command([record], None) == ""


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ({"rule": "plaintext"}, "STARTTLS"),
        ({"rule": "relay_denied", "identity": "acme"}, "[route]"),
        ({"rule": "banned"}, "`gatepost ban list`"),
        ({"rule": "next_hop"}, "next hop"),
        ({"rule": "identity_sender", "identity": "acme"}, "gatepost pin show acme"),
    ],
)
def test_a_rules_refusal_has_advice_even_after_a_good_handshake(
    refusal: dict[str, str], words: str
) -> None:
    assert words in advise([{**HANDSHAKE, "status": "pinned", "rule": ""}, refusal])


@pytest.mark.parametrize(
    ("subject", "helo", "name"),
    [
        ("CN=mail.acme.example", "", "mail.acme.example"),
        ("O=Acme,CN=Mail of Acme", "", "Mail-of-Acme"),
        ("CN=$(reboot)", "", "reboot"),
        ("O=Acme", "mx.acme.example", "mx.acme.example"),
        ("O=Acme", "", "new-partner"),
        ("CN=\\,\\;", "", "new-partner"),
        ("CN=" + "x" * 100, "", "x" * 64),
    ],
)
def test_an_unpinned_key_has_its_command(subject: str, helo: str, name: str) -> None:
    command = pin_command([{**HANDSHAKE, "subject": subject, "helo": helo}], None)
    assert shlex.split(command) == ["gatepost", "pin", "add", name, "--pin", PIN]


def test_the_command_is_for_the_configuration_that_was_asked() -> None:
    command = pin_command([HANDSHAKE], Path("/my files/gatepost.toml"))
    assert shlex.split(command)[-2:] == ["--config", "/my files/gatepost.toml"]


def test_a_record_is_told_a_line_a_fact() -> None:
    lines = tell(HANDSHAKE)
    assert lines[0] == (
        "2026-11-21T04:00:00.000Z  handshake  192.0.2.1:4711 at listener partners,"
        " reference 7K3M9QX2WZ4A"
    )
    assert "    TLS          TLSv1.3 TLS_AES_256_GCM_SHA384" in lines
    assert "    who          unpinned: no identity has its key or one of its names" in lines


def test_the_null_sender_is_shown() -> None:
    assert "    sender       <>" in tell(TRANSACTION)
    assert "    recipients   a@example.org, b@example.org" in tell(TRANSACTION)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "gatepost.toml"
    path.write_text(
        'hostname = "edge.example.org"\n'
        '[[listener]]\nname = "a"\naddress = "127.0.0.1:2525"\n'
        'certificate = [{ chain = "a.pem", key = "a.key" }]\n'
        '[route."*"]\nhosts = ["127.0.0.1:2526"]\n'
    )
    (tmp_path / "state").mkdir()
    trail = [json.dumps(record) for record in (HANDSHAKE, TRANSACTION)]
    (tmp_path / "state" / "audit.jsonl").write_text("\n".join(trail) + "\n")
    return str(path)


def test_a_refusals_reference_leads_to_the_command(config: str) -> None:
    result = CliRunner().invoke(app, ["explain", "7k3m9qx2wz4a", "--config", config])
    assert result.exit_code == 0
    assert f"gatepost pin add Mail-of-Acme --pin {PIN} --config {config}" in result.stdout


def test_a_transactions_reference_brings_its_handshake_along(config: str) -> None:
    result = CliRunner().invoke(app, ["explain", "TRANSACTION1", "--config", config, "--json"])
    kinds = [record["kind"] for record in json.loads(result.stdout)["records"]]
    assert kinds == ["handshake", "transaction"]


def test_a_reference_nobody_knows_is_exit_code_1(config: str) -> None:
    result = CliRunner().invoke(app, ["explain", "NOSUCHREF", "--config", config])
    assert result.exit_code == 1
    assert "nothing is known of NOSUCHREF" in result.output


def test_a_stranger_that_a_rule_has_refused_is_sent_to_the_rule() -> None:
    refused = {"kind": "refusal", "rule": "dnsbl_listed", "stage": "sender", "reply": "554 5.7.1 x"}
    assert "The rule dnsbl_listed refused it: `gatepost policy show`" in advise([refused])
