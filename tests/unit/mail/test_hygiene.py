"""Header fields that tell of the inside: what goes, what becomes anonymous, and what a signature holds fast."""

from __future__ import annotations

import pytest

from relay.mail.headers import split
from relay.mail.hygiene import DEFAULTS, Hygiene, hygiene_by_way, is_indispensable
from relay.settings import Settings

KEY = bytes(32)
OURS = "edge.example.org"
SECRETS = (b"10.1.2.3", b"desk.internal", b"mx.internal", b"ABC123", b"bob@")
RECEIVED = (
    b"Received: from desk.internal (desk.internal [10.1.2.3])\r\n"
    b"\tby mx.internal (Postfix) with ESMTPSA id ABC123\r\n"
    b"\tfor <bob@example.net>; Sat, 21 Nov 2026 11:59:00 +0000\r\n"
)


def hygiene(*names, received="keep", key=KEY):
    return Hygiene.of(names, received, OURS, key)


def cleaned(message, *names, **options):
    block = split(message)
    return b"".join(block.without((), (), hygiene(*names, **options).changes(block)))


def test_names_go_however_they_are_spelled():
    message = (
        b"From: a\r\nx-ORIGINATING-ip : [10.1.2.3]\r\nX-Other: 1\r\n\r\nX-Originating-IP: body\r\n"
    )
    expected = b"From: a\r\nX-Other: 1\r\n\r\nX-Originating-IP: body\r\n"
    assert cleaned(message, "X-Originating-IP") == expected


def test_the_usual_ones_go_by_one_word():
    fields = b"".join(
        name.replace("*", "what").encode() + b": secret\r\n\tmore\r\n" for name in DEFAULTS
    )
    message = b"From: a\r\n" + fields + b"Subject: s\r\n\r\nbody"
    assert cleaned(message, "defaults") == b"From: a\r\nSubject: s\r\n\r\nbody"
    assert cleaned(message) == message


def test_none_of_the_usual_ones_is_one_that_mail_needs():
    assert [name for name in DEFAULTS if is_indispensable(name)] == []


def test_a_star_stands_for_the_rest_of_a_name():
    message = b"X-Internal-Route: 1\r\nX-Internal: 2\r\nX-Internal-: 3\r\nFrom: a\r\n\r\n"
    assert cleaned(message, "X-Internal-*") == b"X-Internal: 2\r\nFrom: a\r\n\r\n"


@pytest.mark.parametrize(
    "signature",
    [
        b"DKIM-Signature: v=1; h=from:x-client-ip; b=",
        b"DKIM-Signature: v=1; b=; h = From :\r\n\tX-Client-IP\r\n\t: to",
        b"dkim-signature : h=X-CLIENT-IP",
        b"ARC-Message-Signature: i=1; h=x-client-ip:from; b=",
        b"X-Google-DKIM-Signature: v=1; h=from:x-client-ip",
        b"DKIM-Signature: broken; h=x; nonsense;h=x-client-ip",
    ],
)
def test_what_a_signature_covers_stays(signature):
    message = b"X-Client-IP: 10.1.2.3\r\nX-Source: /srv\r\n" + signature + b"\r\nFrom: a\r\n\r\n"
    expected = message.replace(b"X-Source: /srv\r\n", b"")
    assert cleaned(message, "defaults") == expected


def test_what_no_signature_covers_goes_though_there_is_one():
    message = b"X-Client-IP: 10.1.2.3\r\nDKIM-Signature: v=1; h=from; bh=x-client-ip; z=h=x-client-ip\r\n\r\n"
    assert b"X-Client-IP" not in cleaned(message, "defaults")


# --- Received --------------------------------------------------------------------------------


def test_received_stays_unless_it_is_asked_for():
    message = RECEIVED + b"From: a\r\n\r\n"
    assert cleaned(message, "defaults") == message


def test_received_becomes_anonymous_and_still_tells_hops_and_times():
    found = cleaned(RECEIVED + RECEIVED + b"From: a\r\n\r\n", received="pseudonymise")
    first, second, *rest = split(found).fields
    assert [field.name for field in (first, second, *rest)] == [b"received", b"received", b"from"]
    assert found[first.start : first.stop] == found[second.start : second.stop]
    for secret in SECRETS:
        assert secret not in found
    assert found.startswith(b"Received: from p")
    assert b" with ESMTPSA; Sat, 21 Nov 2026 11:59:00 +0000\r\n" in found


def test_pseudonyms_can_not_be_tried_out_without_the_key():
    message = RECEIVED + b"From: a\r\n\r\n"
    one, other = (
        cleaned(message, received="pseudonymise", key=key) for key in (KEY, bytes(31) + b"1")
    )
    assert one != other


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage \xff\xfe 10.1.2.3",
        b"from x\x00y 10.1.2.3; 10.1.2.3 mx.internal",
        b"by 10.1.2.3",
        b";" * 99,
    ],
)
def test_malformed_ones_tell_nothing_either(value):
    found = cleaned(b"Received: " + value + b"\r\nFrom: a\r\n\r\n", received="pseudonymise")
    assert found.startswith(b"Received: ")
    assert found.endswith(b"\r\nFrom: a\r\n\r\n")
    assert b"10.1.2.3" not in found
    assert found.isascii()


def test_received_is_removed_but_ours_stays_so_that_loops_are_found():
    ours = b"Received: from desk.internal by EDGE.example.org (Gatepost) with ESMTPS id R;\r\n\tnow\r\n"
    message = RECEIVED + ours + RECEIVED + b"From: a\r\n\r\n"
    assert cleaned(message, received="remove") == ours + b"From: a\r\n\r\n"
    assert split(cleaned(message, received="pseudonymise")).received_count == 3


@pytest.mark.parametrize("received", ["pseudonymise", "remove"])
def test_a_signed_received_stays(received):
    message = RECEIVED + b"DKIM-Signature: h=from:received\r\nFrom: a\r\n\r\n"
    assert cleaned(message, received=received) == message


def test_our_own_received_names_nobody_then():
    received = (
        'Received: from desk.internal ([10.1.2.3])\r\n\t(using TLSv1.3)\r\n\t(Client CN "desk")'
    )
    assert hygiene().origin(received) == received
    for treatment in ("pseudonymise", "remove"):
        found = hygiene(received=treatment).origin(received)
        assert found.startswith("Received: from p")
        assert found.endswith(".invalid")
        assert "desk" not in found


# --- settings --------------------------------------------------------------------------------


def settings(listener, route):
    one = {"name": "inside", "address": "127.0.0.1:1", "certificate": [{"chain": "c", "key": "k"}]}
    return Settings.model_validate(
        {
            "hostname": OURS,
            "listener": [one | listener, one | {"name": "partners"}],
            "route": {"*": {"hosts": ["mx"]} | route, "example.org": {"hosts": ["mx"]}},
        }
    )


def test_listener_and_route_both_have_a_say():
    found = hygiene_by_way(
        settings(
            {"remove_headers": ["X-A"], "received": "pseudonymise"}, {"remove_headers": ["X-B"]}
        ),
        KEY,
    )
    assert {way: (each.names, each.received) for way, each in found.items()} == {
        ("inside", "*"): ({b"x-a", b"x-b"}, "pseudonymise"),
        ("inside", "example.org"): ({b"x-a"}, "pseudonymise"),
        ("partners", "*"): ({b"x-b"}, "keep"),
    }


def test_the_stricter_word_counts():
    found = hygiene_by_way(settings({"received": "pseudonymise"}, {"received": "remove"}), KEY)
    assert {way: each.received for way, each in found.items()} == {
        ("inside", "*"): "remove",
        ("inside", "example.org"): "pseudonymise",
        ("partners", "*"): "remove",
    }


def test_without_a_word_nothing_is_done():
    assert hygiene_by_way(settings({}, {}), KEY) == {}


@pytest.mark.parametrize(
    "name",
    ["From", "from", "Received", "DKIM-Signature", "ARC-Seal", "Content-Type", "List-Id", "F*", "*", "Content*",
     "X-Google-DKIM-Signature", "Content-X-*"],
)  # fmt: skip
def test_what_mail_needs_can_not_be_removed(name):
    assert is_indispensable(name)


@pytest.mark.parametrize("name", ["X-Originating-IP", "X-*", "Bcc", "User-Agent", "X-Mailer"])
def test_the_rest_can(name):
    assert not is_indispensable(name)
