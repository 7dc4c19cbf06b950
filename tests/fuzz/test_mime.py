"""The MIME walker on damaged messages: nothing may escape, and every part lies in the message."""

from __future__ import annotations

from hypothesis import given

from relay.mail.mime import MAX_DEPTH, MAX_PARTS, content, read_structure
from tests.kit.fuzz import fuzz_settings, mutated

SEEDS = [
    (
        b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\ntext\r\n--c\r\n"
        b"Content-Type: text/html\r\n\r\n<p>text\r\n--c--\r\n--b\r\nContent-Type: message/rfc822\r\n"
        b"\r\nSubject: x\r\n\r\nbody\r\n--b\r\nContent-Type: a/b; name=x\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--b--\r\n"
    ),
    b"MIME-Version: 1.0\r\n",
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n',
    b"Content-Type: multipart/digest; boundary=c\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''%41; filename*1=.exe\r\n",
    b'Content-Disposition: attachment; filename="=?utf-8?B?YQ==?="\r\n',
    b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=41=\r\n",
    b"\r\n--b\r\n",
    b"\r\n--b--\r\n",
    b"\r\n--c\r\n",
    b"\r\n\r\n",
]
DEFECTS = {
    "bad_boundary", "bad_parameter", "bad_type", "duplicate_field", "encoded_container",
    "long_header", "long_value", "lost_piece", "no_boundary", "no_header", "no_parts", "no_version",
    "reused_boundary", "too_deep", "too_many_delimiters", "too_many_parts", "two_values",
    "unclosed", "unclosed_quote", "unended_header", "unknown_encoding", "unquoted_blank",
}  # fmt: skip


@fuzz_settings()
@given(message=mutated(SEEDS))
def test_whatever_comes_has_parts_that_lie_in_it_one_after_the_other(message: bytes) -> None:
    found = read_structure(message)
    assert set(found.defects) <= DEFECTS
    assert 1 <= found.total <= MAX_PARTS
    assert found.depth <= MAX_DEPTH
    end = 0
    for part in found.parts:
        assert end <= part.start <= part.stop <= len(message)
        end = part.stop
        assert len(content(message, part, 10)) <= 10
        assert all(name.encode("utf-8", "surrogatepass") for name in part.names)
