"""What we sign: which fields, how it is laid out, and that it verifies."""

from __future__ import annotations

from datetime import timedelta

import pytest

from relay.mail.headers import split
from relay.mailauth.canonicalization import FieldStack, body_start
from relay.mailauth.signing import SigningKey, SigningStyle, sign, signed_names
from tests.kit.dkim import MESSAGE, NOW, ed25519_key, record, rsa_key, verified, zone

RSA = SigningKey("example.org", "rsa", rsa_key())
ED25519 = SigningKey("example.org", "ed", ed25519_key())
ZONES = zone(record(rsa_key()), "rsa._domainkey.example.org") | zone(
    record(ed25519_key()), "ed._domainkey.example.org"
)


def signed(message=MESSAGE, keys=(RSA,), style=None):
    header = split(message)
    stack = FieldStack.of(header)
    return sign(stack, message, body_start(header), keys, NOW, style=style or SigningStyle())


def tags(field):
    value = b"".join(field.partition(b":")[2].split())
    return dict(tag.split("=", 1) for tag in value.decode().split(";"))


@pytest.mark.parametrize("relaxed_header", [True, False])
@pytest.mark.parametrize("relaxed_body", [True, False])
@pytest.mark.parametrize(
    "message", [MESSAGE, b"", b"no header", b"From: x", "From: ü\r\n\r\nü".encode()]
)
def test_two_signatures_of_ours_pass(message, relaxed_header, relaxed_body):
    style = SigningStyle(relaxed_header=relaxed_header, relaxed_body=relaxed_body)
    fields = signed(message, (RSA, ED25519), style)
    separator = b"" if split(message).is_separated else b"\r\n"
    found = verified(fields + separator + message, ZONES)
    assert [(each.result, each.selector) for each in found] == [("pass", "rsa"), ("pass", "ed")]


def test_the_tags_of_a_signature():
    style = SigningStyle(lifetime=timedelta(days=7), identity="news@mail.example.org")
    found = tags(signed(style=style))
    at = int(NOW.timestamp())
    assert found.pop("b")
    assert found.pop("bh")
    assert found == {
        "v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "example.org", "s": "rsa",
        "t": str(at), "x": str(at + 7 * 86400), "i": "news@mail.example.org",
        "h": "from:from:sender:reply-to:to:to:cc:subject:subject:date:date:message-id:message-id:"
        "in-reply-to:references:mime-version:content-type:content-transfer-encoding",
    }  # fmt: skip


def test_a_signature_expires():
    style = SigningStyle(lifetime=timedelta(days=7))
    message = signed(style=style) + MESSAGE
    assert verified(message, ZONES, now=NOW + timedelta(days=7))[0].result == "pass"
    (late,) = verified(message, ZONES, now=NOW + timedelta(days=7, minutes=6))
    assert (late.result, late.reason) == ("permerror", "expired")


def test_fields_are_signed_as_often_as_they_are_there_and_once_more_where_none_may_come():
    stack = FieldStack([(name, b"x: y\r\n") for name in (b"to", b"to", b"list-id", b"x")])
    assert signed_names(stack, (b"to", b"cc", b"list-id", b"list-post"), (b"to", b"cc")) == (
        b"to", b"to", b"to", b"cc", b"list-id",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["From", "Subject", "Cc", "Content-Type", "Reply-To"])
def test_a_field_added_behind_us_breaks_the_signature(name):
    field = signed()
    (found,) = verified(field + f"{name}: added\r\n".encode() + MESSAGE, ZONES)
    assert found.result == "fail"


@pytest.mark.parametrize(
    "name", ["Received", "X-Spam", "List-Id", "DKIM-Signature: v=2\r\nReturn-Path"]
)
def test_a_trace_field_added_behind_us_breaks_nothing(name):
    added = f"{name}: added\r\n".encode()
    found = verified(added + signed() + MESSAGE, ZONES)
    assert found[-1].result == "pass"


def test_fields_of_ours_can_be_signed_beside_those_of_the_message():
    ours = b"X-Gatepost-Identity: acme-billing\r\n"
    style = SigningStyle(
        signed=(b"from", b"x-gatepost-identity"), oversigned=(b"x-gatepost-identity",)
    )
    fields = [(b"x-gatepost-identity", ours), (b"from", b"From: Alice <alice@example.org>\r\n")]
    start = body_start(split(MESSAGE))
    field = sign(FieldStack(fields), MESSAGE, start, (RSA,), NOW, style=style)
    message = field + ours + MESSAGE
    assert verified(message, ZONES)[0].result == "pass"
    for changed in (
        message.replace(b"acme-billing", b"acme-payroll"),
        ours.replace(b"acme", b"evil") + message,
        field + MESSAGE,
    ):
        assert verified(changed, ZONES)[0].result == "fail"


@pytest.mark.parametrize("keys", [(RSA,), (ED25519,), (RSA, ED25519)])
def test_lines_are_short_and_folded(keys):
    long_names = tuple(f"x-a-rather-long-name-{n}".encode() for n in range(30))
    style = SigningStyle(
        signed=(b"from", *long_names),
        oversigned=long_names,
        identity="@" + "a" * 50 + ".example.org",
    )
    for fields in (signed(keys=keys), signed(keys=keys, style=style)):
        lines = fields.split(b"\r\n")
        assert lines.pop() == b""
        assert max(len(line.expandtabs()) for line in lines) <= 78
        assert all(line.startswith((b"DKIM-Signature: v=1;", b"\t")) for line in lines)
        assert all(line == line.rstrip() for line in lines)
    assert verified(signed(keys=keys, style=style) + MESSAGE, ZONES)[0].result == "pass"
