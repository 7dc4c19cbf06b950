"""The parts of messages, sound and hostile, against the standard library where that can be asked."""

from __future__ import annotations

import email
import email.policy
import time
from email.message import EmailMessage

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.mail.headers import split
from relay.mail.mime import MAX_DEPTH, MAX_PARTS, content, read_structure, structure_of

TOP = b"From: alice@example.org\r\nMIME-Version: 1.0\r\n"


def multipart(*parts, boundary=b"b", kind=b"mixed", top=TOP):
    head = top + b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (kind, boundary)
    return head + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + (
        b"--%s--\r\n" % boundary
    )  # fmt: skip


def part(text, kind=b"text/plain", *fields):
    return b"\r\n".join((b"Content-Type: " + kind, *fields, b"", text))


def contents(message):
    found = read_structure(message)
    return [(each.type, message[each.start : each.stop]) for each in found.parts]


def test_a_message_of_one_part():
    message = TOP + b"Content-Type: text/html; charset=UTF-8\r\n\r\n<p>Hello\r\n"
    found = read_structure(message)
    assert (found.total, found.depth, found.types, found.defects) == (1, 0, ("text/html",), ())
    (only,) = found.parts
    assert (only.charset, only.names, only.disposition) == ("utf-8", (), "")
    assert message[only.start : only.stop] == b"<p>Hello\r\n"


def test_parts_in_parts():
    inner = multipart(
        part(b"plain"), part(b"html", b"text/html"), boundary=b"i", kind=b"alternative", top=b""
    )
    message = multipart(inner, part(b"file", b"application/pdf; name=a.pdf"), boundary=b"o")
    found = read_structure(message)
    assert contents(message) == [
        ("text/plain", b"plain"),
        ("text/html", b"html"),
        ("application/pdf", b"file"),
    ]
    assert (found.total, found.depth, found.defects) == (5, 2, ())
    assert found.types == (
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf",
    )  # fmt: skip


def test_a_message_in_a_message():
    forwarded = part(b"Subject: inner\r\nContent-Type: text/html\r\n\r\ninner", b"message/rfc822")
    message = multipart(part(b"outer"), forwarded)
    assert contents(message) == [("text/plain", b"outer"), ("text/html", b"inner")]
    assert read_structure(message).depth == 2


def test_a_digest_has_messages_where_nothing_is_said():
    message = multipart(b"\r\nSubject: one\r\n\r\nbody", kind=b"digest")
    found = read_structure(message)
    assert found.types == ("multipart/digest", "message/rfc822", "text/plain")
    assert contents(message) == [("text/plain", b"body")]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\nbody", b"body"),
        (b"no header at all\r\n\r\nbody", b"no header at all\r\n\r\nbody"),
        (b"A: b", b""),
        (b"A: b\r\n\r\nbody", b"body"),
    ],
)
def test_headers_and_none(message, expected):
    assert contents(message) == [("text/plain", expected)]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (("a.pdf",), b"Content-Disposition: attachment; filename=a.pdf"),
        (("a.pdf",), b'content-DISPOSITION : inline; filename="a.pdf"'),
        (("b.exe", "a.pdf"), b"Content-Disposition: attachment; filename=a.pdf; filename*=''b.exe"),
        (("a.pdf", "b.exe"), b"Content-Disposition: x; filename=a.pdf\r\nContent-Type: a/b; name=b.exe"),
        ((), b"Content-Disposition: attachment"),
        ((), b"Content-Disposition: attachment; filename="),
    ],
)  # fmt: skip
def test_names(name, field):
    message = TOP + field + b"\r\n\r\nx"
    assert read_structure(message).parts[0].names == name


def defects_of(message):
    return set(read_structure(message).defects)


@pytest.mark.parametrize(
    ("message", "defect", "expected"),
    [
        (multipart(part(b"x")).replace(b"--b--", b""), "unclosed", [b"x\r\n\r\n"]),
        (multipart(part(b"x"), top=b"From: a@b\r\n"), "no_version", [b"x"]),
        (TOP + b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx", "no_boundary",
         [b"--b\r\n\r\nx"]),
        (multipart(part(b"x"), boundary=b"b" * 71), "bad_boundary", None),
        (TOP + b"Content-Type: multipart/mixed; boundary=b\r\n\r\ntext", "no_parts", [b"text"]),
        (TOP + b"Content-Type: nonsense\r\n\r\nx", "bad_type", [b"x"]),
        (TOP + b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx",
         "duplicate_field", [b"x"]),
        (TOP + b"Content-Transfer-Encoding: rot13\r\n\r\nx", "unknown_encoding", [b"x"]),
        (multipart(part(b"x"), top=TOP + b"Content-Transfer-Encoding: base64\r\n"),
         "encoded_container", None),
        (TOP + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==",
         "encoded_container", [b"QQ=="]),
        (multipart(b"Content-Type: text/plain\r\n--b\r\n\r\nx"), "unended_header", [b"", b"x"]),
        (multipart(b"no header here"), "no_header", [b"no header here"]),
        (multipart(multipart(part(b"x"), top=b"")), "reused_boundary", [b"x"]),
        (multipart(multipart(part(b"x"), boundary=b"i", top=b"").replace(b"--i--", b"")),
         "unclosed", [b"x\r\n\r\n"]),
        (multipart(b"X: " + b"y" * 70_000 + b"\r\n\r\nx"), "long_header", None),
        (TOP + b"Content-Disposition: attachment; filename=a b\r\n\r\n", "unquoted_blank", [b""]),
    ],
)  # fmt: skip
def test_defects(message, defect, expected):
    assert defect in defects_of(message)
    if expected is not None:
        assert [text for _, text in contents(message)] == expected


@pytest.mark.parametrize(
    "message",
    [
        multipart(part(b"x")),
        multipart(part(b"x"), boundary=b"=_b'()+_,-./:=? b"),
        multipart(part(b"x"), boundary=b"b--"),
        multipart(part(b"--bb\r\n-- b\r\n---b\r\n--b-")),
        multipart(b"\r\nx").replace(b"--b\r\n", b"--b \t\r\n").replace(b"--b--", b"--b-- "),
        multipart(b"\r\nx").replace(b"--b\r\n", b"preamble\r\n--b\r\n", 1) + b"epilogue\r\n",
        TOP + b"Content-Transfer-Encoding: BASE64\r\n\r\nQQ==",
        b"Content-Type: text/plain\r\n\r\nno version is fine here",
    ],
)
def test_no_defects(message):
    assert defects_of(message) == set()
    assert len(read_structure(message).parts) == 1


@pytest.mark.parametrize(
    ("encoding", "raw", "expected"),
    [
        (b"base64", b"SGVs\r\nbG8=\r\n", b"Hello"),
        (b"base64", b"SGVs*bG8\r\n", b"Hello"),
        (b"quoted-printable", b"H=65llo=\r\n!", b"Hello!"),
        (b"quoted-printable", b"=ZZ=", b"=ZZ"),
        (b"7bit", b"Hello", b"Hello"),
        (b"x-unknown", b"Hello", b"Hello"),
    ],
)
def test_contents_are_decoded(encoding, raw, expected):
    message = TOP + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + raw
    (only,) = read_structure(message).parts
    assert content(message, only, 1000) == expected
    assert content(message, only, 3) == expected[:3]


def test_the_structure_is_found_once():
    block = split(multipart(part(b"x")))
    assert structure_of(block) is structure_of(block)


# --- as the standard library writes and reads ------------------------------------------------------


@st.composite
def messages(draw, depth=3):
    made = EmailMessage()
    if depth and draw(st.booleans()):
        made["Subject"] = "container"
        made["MIME-Version"] = "1.0"
        made["Content-Type"] = f"multipart/{draw(st.sampled_from(['mixed', 'alternative']))}"
        for _ in range(draw(st.integers(1, 3))):
            made.attach(draw(messages(depth - 1)))
        return made
    data = draw(st.binary(max_size=60))
    name = draw(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=30))
    assume(not (name.startswith("<") and name.endswith(">")))  # it takes them for quotes
    made.add_attachment(data, maintype="application", subtype="x-test", filename=name or None)
    (only,) = made.iter_attachments()
    return only


@given(messages())
def test_what_the_standard_library_writes_is_read_alike(made):
    made.policy = email.policy.SMTP
    message = made.as_bytes(policy=email.policy.SMTP)
    theirs = [
        (each.get_content_type(), each.get_filename() or "", each.get_payload(decode=True))
        for each in email.message_from_bytes(message, policy=email.policy.SMTP).walk()
        if not each.is_multipart()
    ]
    found = read_structure(message)
    ours = [
        (each.type, (*each.names, "")[0], content(message, each, 10_000)) for each in found.parts
    ]
    assert ours == theirs
    assert set(found.defects) <= {"no_version"}


# --- hostile messages ------------------------------------------------------------------------------


def tree(depth, numbers):
    if not depth:
        return part(b"leaf")
    return multipart(
        *(tree(depth - 1, numbers) for _ in range(10)), boundary=b"t%d" % next(numbers), top=b""
    )


HOSTILE = {
    "10,000 parts": (multipart(*[part(b"x")] * 10_000), "too_many_parts"),
    "a tree of 11,111 parts": (TOP + tree(4, iter(range(20_000))), "too_many_parts"),
    "200 messages deep": (TOP + b"Content-Type: message/rfc822\r\n\r\n" * 200, "too_deep"),
    "1000 multiparts deep": (
        TOP + b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number)
            for number in range(1000)
        ),
        "too_deep",
    ),
    "a header of 1 MB": (TOP + b"X: y\r\n" * 180_000 + b"\r\nx", "long_header"),
    "a field of 1 MB": (TOP + b"Content-Type: a/b" + b"; x=y" * 200_000 + b"\r\n\r\n", "long_header"),
    "a part with a header of 1 MB": (multipart(b"X: y\r\n" * 180_000 + b"\r\nx"), "long_header"),
    "100,000 fields of one name": (
        TOP + b"Content-Type: a/b\r\n" * 10_000 + b"\r\n", "duplicate_field"
    ),
    "a million dashes": (multipart(part(b"--\r\n" * 1_000_000)), "too_many_delimiters"),
    "quotes that never end": (
        TOP + b'Content-Type: a/b; x="' + b'\\"' * 100_000 + b"\r\n\r\n", "long_value"
    ),
    "comments without end": (
        TOP + b"Content-Type: a/b" + b"(" * 100_000 + b"\r\n\r\n", "long_value"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_cost_little_and_are_named(name):
    message, defect = HOSTILE[name]
    begun = time.process_time()
    found = read_structure(message)
    elapsed = time.process_time() - begun
    assert defect in found.defects
    assert found.total <= MAX_PARTS
    assert found.depth <= MAX_DEPTH
    assert elapsed < 0.5, "measured: below 0.1 s; five times that for a busy machine"
