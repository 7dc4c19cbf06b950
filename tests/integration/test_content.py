"""What a client sends arrives byte for byte, below the header fields that the relay adds."""

import re

import pytest

from tests.kit import clients

HEAD = b"From: billing@acme.example\r\nSubject: content\r\n"
ADDED = {b"received", b"gatepost-identity", b"authentication-results"}

CONTENTS = {
    "empty body": HEAD + b"\r\n",
    "no blank line at the end of the header": HEAD,
    "a single dot in a line of text": HEAD + b"\r\na.b\r\n.c\r\n",
    "lines of dots": HEAD + b"\r\n.\r\n..\r\n...\r\n.\r\n\r\n.\r\n",
    "a dot as the first line": HEAD + b"\r\n.\r\n",
    "a dot line as header": b".odd: x\r\n" + HEAD + b"\r\nbody\r\n",
    "8-bit body": HEAD + b"\r\n" + bytes(c for c in range(1, 256) if c not in b"\r\n") + b"\r\n",
    "UTF-8 header": HEAD + "Subject: Grüße aus Köln\r\n\r\nÄÖÜ\r\n".encode(),
    "lines at the limit": HEAD + b"\r\n" + (b"x" * 998 + b"\r\n") * 50,
    "long header line": HEAD + b"X-Long: " + b"y" * 990 + b"\r\n\r\nbody\r\n",
    "long folded header": HEAD + b"X-Folded: a" + b"\r\n\t" * 1 + b"\r\n ".join([b"z" * 900] * 60)
    + b"\r\n\r\nbody\r\n",
    "many header fields": HEAD + b"".join(b"X-%d: v\r\n" % i for i in range(500)) + b"\r\nbody\r\n",
    "blank lines only": HEAD + b"\r\n" + b"\r\n" * 1000,
    "just above a TLS record": HEAD + b"\r\n" + (b"w" * 70 + b"\r\n") * 228,
}  # fmt: skip


def arrived(upstream, relay, site, content):
    upstream.messages.clear()
    answer = clients.send(relay.port, site.context(site.pinned), content)
    assert answer.code == 250, answer
    (stored,) = upstream.messages
    return stored.content


def names_of(header):
    unfolded = re.sub(rb"\r\n[ \t]", b" ", header)
    return {line.partition(b":")[0].lower() for line in unfolded.splitlines()}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_arrives_byte_for_byte(content, site, relay, upstream):
    got = arrived(upstream, relay, site, content)
    assert got.endswith(content)
    assert names_of(got.removesuffix(content)) <= ADDED


def test_50_megabytes_arrive_byte_for_byte(site, relay, upstream):
    line = bytes(range(33, 109)) + b"\r\n"
    content = HEAD + b"\r\n" + (b"." + line) * (50_000_000 // (len(line) + 1))
    assert arrived(upstream, relay, site, content).endswith(content)


def test_a_received_field_says_who_and_how(site, relay, upstream):
    header = arrived(upstream, relay, site, HEAD + b"\r\nx\r\n").partition(b"\r\n\r\n")[0]
    received = re.sub(rb"\r\n[ \t]+", b" ", header).splitlines()[0]
    assert received.startswith(b"Received: from client.example ")
    assert b"by edge.example" in received
    assert b"ESMTPS" in received
    assert b"TLSv1.3" in received


def test_the_identity_is_stamped(site, relay, upstream):
    content = arrived(upstream, relay, site, HEAD + b"\r\nx\r\n")
    assert re.search(rb"(?m)^Gatepost-Identity: acme-billing", content)


def test_a_forged_identity_field_is_gone(site, relay, upstream):
    forged = b"gatepost-IDENTITY : ceo;\r\n\tstatus=pinned\r\n"
    content = arrived(upstream, relay, site, forged + HEAD + forged + b"\r\nx\r\n")
    assert b"ceo" not in content
    assert content.endswith(HEAD + b"\r\nx\r\n")


def test_chunked_content_arrives_byte_for_byte(site, relay, upstream):
    content = HEAD + b"\r\n.\r\n..\r\nfour\r\n.\r\n"
    upstream.messages.clear()
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert smtp.has_extn("chunking")
        smtp.mail("billing@acme.example")
        smtp.rcpt("user@dest.example")
        for start in range(0, len(content), 10):
            part = content[start : start + 10]
            last = b" LAST" if start + 10 >= len(content) else b""
            smtp.sock.sendall(b"BDAT %d%s\r\n" % (len(part), last) + part)
            code, _ = smtp.getreply()
            assert code == 250
        smtp.quit()
    assert upstream.messages[0].content.endswith(content)
