"""Signatures through the real binary, with the npm package mailauth as judge: ours hold, and those before us still do.

The relay does all it can to a header here: signs twice for the author, vouches for the identity, and takes
out what tells of the inside.
"""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.kit import mailauth
from tests.kit.clients import send, session
from tests.kit.dkim import ed25519_key, record, rsa_key, signed, verified
from tests.kit.relay_process import RelayProcess, wait_until
from tests.kit.upstream import EXTENSIONS

KEYS = {"rsa-sha256": rsa_key(), "ed25519-sha256": ed25519_key()}
FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
RECORDS = {
    "theirs._domainkey.partner.example": record(rsa_key()),
    "ed._domainkey.partner.example": record(ed25519_key()),
    "s1._domainkey.partner.example": record(rsa_key()),
    "r1._domainkey.acme.example": record(rsa_key()),
    "e1._domainkey.acme.example": record(ed25519_key()),
    "g1._domainkey.edge.example": record(ed25519_key()),
}
OURS = [("acme.example", "r1"), ("acme.example", "e1"), ("edge.example", "g1")]

HEADER = (
    b"Received: from desk.internal ([10.1.2.3]) by mx.internal with ESMTP id 1;\r\n"
    b"\tSat, 21 Nov 2026 11:58:00 +0000\r\n"
    b"X-Originating-IP: [10.1.2.3]\r\n"
    b"From:  Billing   <billing@acme.example>\r\n"
    b"To: user@dest.example,\r\n  Carol <carol@dest.example>\r\n"
    b"Subject: An  invoice \r\n"
    b"Date: Sat, 21 Nov 2026 11:59:00 +0000\r\n"
    b"Message-ID: <1@acme.example>\r\n"
    b"X-Mailer: mx.internal\r\n"
)
BODIES = {
    "text": b"Dear  customer,\t\r\n\r\n.please pay. \r\n..\r\n\r\n\r\n",
    "8-bit": "Grüße  aus Köln \r\n".encode() + b"\xff\xfe latin too\r\n",
    "large": b"a  line of \ttext \r\n" * 20_000,
    "empty": b"",
    "empty lines": b"\r\n\r\n\r\n",
    "blanks": b" \t \r\n \r\n",
    "no last line end": b"Dear customer,\r\nplease pay",
    "a last dot": b"Please pay\r\n.",
}
HEADERS = {
    "plain": HEADER,
    "utf-8": HEADER.replace(b"Billing  ", "Jürgen Müller".encode()).replace(
        b"An  invoice", "Grüße  ü".encode()
    ),
    "odd": HEADER.replace(b"Subject: ", b"SUBJECT:").replace(b"To: ", b"tO:\t\r\n\t")
    + b"Cc:\r\n  Dave (a  comment)\r\n\t<dave@dest.example> \t\r\n"
    + b"References: %b<0@acme.example>\r\n"
    % b"".join(b"<%d@acme.example>\r\n  " % n for n in range(60))
    + b"Reply-To:billing@acme.example\r\nMIME-Version:  1.0 \r\n"
    + b'Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n name="%b"\r\n' % (b"x" * 900),
}


class Case(NamedTuple):
    header: str
    body: str
    algorithm: str
    form: str

    @property
    def message(self):
        return HEADERS[self.header] + b"\r\n" + BODIES[self.body]


CASES = [
    Case(*each)
    for each in itertools.product(HEADERS, BODIES, KEYS, FORMS)
    if each[1] in {"text", "8-bit"} or each[0] == "plain"
]


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def signed_before():
    """Every case, signed by mailauth in the name of a third party."""
    selectors = {"rsa-sha256": "theirs", "ed25519-sha256": "ed"}
    requests = [
        mailauth.sign(case.message, "partner.example", selectors[case.algorithm],
                      pem(KEYS[case.algorithm]), algorithm=case.algorithm, canonicalization=case.form)
        for case in CASES
    ]  # fmt: skip
    answers = mailauth.ask(requests)
    return [
        each["fields"].encode() + case.message for each, case in zip(answers, CASES, strict=True)
    ]


@pytest.fixture(scope="module")
def relay(site, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relay")
    settings = site.settings(
        upstream.port,
        listener={"remove_headers": ["defaults", "X-Mailer"], "received": "pseudonymise"},
        dkim={
            "key": [
                key(folder, "acme.example", "r1", rsa_key()),
                key(folder, "acme.example", "e1", ed25519_key()),
                key(folder, "edge.example", "g1", ed25519_key(), use=["identity"]),
                key(folder, "acme.example", "next", rsa_key(), state="next"),
            ]
        },
    )
    with RelayProcess(folder, settings, site.allowlist()) as running:
        yield running


def key(folder, domain, selector, private, **more):
    path = folder / f"{selector}.pem"
    path.write_bytes(pem(private))
    path.chmod(0o600)
    return {"domain": domain, "selector": selector, "key": str(path), **more}


def by_data(smtp, message):
    code, text = smtp.data(message)
    assert code == 250, text


def by_bdat(smtp, message):
    """In three pieces, cut anywhere."""
    cuts = [0, len(message) // 3, len(message) // 3 * 2 + 1, len(message)]
    for start, stop in itertools.pairwise(cuts):
        last = b" LAST" if stop == len(message) else b""
        smtp.send(b"BDAT %d%b\r\n" % (stop - start, last) + message[start:stop])
        code, text = smtp.getreply()
        assert code == 250, text


def pass_through(relay, site, upstream, messages, transfer):
    """Send messages; return them as the next hop has got them."""
    upstream.messages.clear()
    with session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        for message in messages:
            options = ["BODY=8BITMIME", "SMTPUTF8"]
            assert smtp.mail("billing@acme.example", options)[0] == 250
            assert smtp.rcpt("user@dest.example")[0] == 250
            transfer(smtp, message)
    return [each.content for each in upstream.messages]


def verdicts(messages):
    answers = mailauth.ask([mailauth.verify(message, RECORDS) for message in messages])
    return [[each["result"] for each in answer["dkim"]] for answer in answers]


@pytest.mark.parametrize("transfer", [by_data, by_bdat])
@pytest.mark.parametrize("chunking", [True, False])
def test_what_was_signed_before_us_verifies_behind_us(
    relay, site, upstream, signed_before, *, transfer, chunking
):
    upstream.script.extensions = (*EXTENSIONS, "CHUNKING") if chunking else EXTENSIONS
    found = pass_through(relay, site, upstream, signed_before, transfer)
    wrong = {
        case: verdict
        for case, verdict in zip(CASES, verdicts(found), strict=True)
        if verdict != ["pass"] * 4  # theirs, two for the author, one for the identity
    }
    assert wrong == {}
    for message in found:
        assert b"X-Originating-IP" not in message
        assert b"desk.internal" not in message


def test_a_judge_that_always_says_yes_would_be_none(relay, site, upstream, signed_before):
    (found,) = pass_through(relay, site, upstream, signed_before[:1], by_data)
    changed = found.replace(b"invoice", b"ransom")
    forged = found.replace(b"Gatepost-Identity: acme-billing", b"Gatepost-Identity: acme-robbing!")
    assert changed != found != forged
    found = list(map(sorted, verdicts([changed, forged])))
    assert found == [["fail"] * 4, ["fail", "pass", "pass", "pass"]]


def test_who_signs_for_whom(relay, site, upstream):
    (found,) = pass_through(relay, site, upstream, [HEADER + b"\r\nHi\r\n"], by_data)
    fields = re.findall(rb"DKIM-Signature: .+?(?=\r\n\S)", found, re.DOTALL)
    tags = [re.findall(r"\b([ds])=([^;\s]+)", field.decode()) for field in fields]
    assert [(dict(each)["d"], dict(each)["s"]) for each in tags] == OURS
    assert b"i=acme-billing@edge.example" in fields[2]
    assert b"gatepost-identity" in fields[2].replace(b"\r\n\t", b"")
    assert verdicts([found]) == [["pass"] * 3]


@pytest.mark.parametrize("form", FORMS)
def test_a_field_that_is_signed_stays_though_it_is_on_the_list(relay, site, upstream, form):
    names = "from:to:subject:received:x-originating-ip"
    message = signed(HEADER + b"\r\nHi\r\n", d="partner.example", h=names, c=form)
    (found,) = pass_through(relay, site, upstream, [message], by_data)
    assert b"X-Originating-IP: [10.1.2.3]" in found
    assert b"desk.internal" in found
    assert b"X-Mailer" not in found
    assert verdicts([found]) == [["pass"] * 4]


def test_a_key_that_is_replaced_signs_without_a_restart(site, upstream, tmp_path):
    path = tmp_path / "g1.pem"
    entry = key(tmp_path, "edge.example", "g1", ed25519_key(), use=["identity"])
    settings = site.settings(upstream.port, dkim={"key": [entry]})
    with RelayProcess(tmp_path, settings, site.allowlist()) as running:
        new = tmp_path / "new.pem"
        new.write_bytes(pem(rsa_key()))
        new.chmod(0o600)
        new.replace(path)

        def algorithm():
            upstream.messages.clear()
            assert send(running.port, site.context(site.pinned)).code == 250
            return re.search(rb"\ba=([\w-]+);", upstream.messages[0].content)[1] == b"rsa-sha256"

        wait_until("the new key signs", algorithm)


def test_a_key_is_made_published_and_replaced_while_mail_goes_on(
    site, own_upstream, name_server, tmp_path
):
    """`gatepost dkim` beside a running relay, which takes everything over by itself."""
    with RelayProcess(tmp_path, site.settings(own_upstream.port), site.allowlist()) as running:

        def dkim(*words):
            done = running.command("dkim", *words, "--json")
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        def signers():
            own_upstream.messages.clear()
            assert send(running.port, site.context(site.pinned)).code == 250
            content = own_upstream.messages[0].content
            found = verified(content, published, now=datetime.now(UTC))
            assert {each.result.value for each in found} <= {"pass"}
            return [each.selector for each in found]

        published = {}
        for made, expected in (
            (
                lambda: dkim("new", "acme.example", "--kind", "ed25519", "--selector", "first"),
                "first",
            ),
            (lambda: dkim("rotate", "acme.example"), None),
        ):
            (key_,) = made()
            published[key_["record_name"]] = {"TXT": key_["record"]}
            name_server.zones |= published
            changed = dkim("rotate", "acme.example")
            expected = expected or changed["active"][0]
            wait_until("the key signs", lambda wanted=expected: signers() == [wanted])
        assert changed["retired"] == ["first"]


def test_a_key_that_others_can_read_is_refused(site, upstream, tmp_path):
    entry = key(tmp_path, "edge.example", "g1", ed25519_key(), use=["identity"])
    relay = RelayProcess(
        tmp_path, site.settings(upstream.port, dkim={"key": [entry]}), site.allowlist()
    )
    (tmp_path / "g1.pem").chmod(0o644)
    done = relay.command("check")
    assert done.returncode == 2
    assert re.match(r".*gatepost\.toml:\d+: .*g1\.pem is open to other users", done.stderr)
