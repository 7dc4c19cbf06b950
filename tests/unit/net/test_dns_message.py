"""Questions as bytes, and which bytes are an answer to one."""

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from relay.errors import Unavailable
from relay.model import DnsAnswer
from relay.net.dns_message import Match, NoSuchName, Question, read_answer

NAME = "a-name-long-enough-that-its-letters-tell.example.org"


def answer_to(question, *rrsets, authority=(), rcode=dns.rcode.NOERROR, flags=0, extended=False):
    message = dns.message.make_response(dns.message.from_wire(question.wire))
    message.answer.extend(rrsets)
    message.authority.extend(authority)
    message.set_rcode(rcode)
    message.flags |= flags
    if not extended:
        message.use_edns(False)
    return message.to_wire()


def rrset(name, ttl, kind, *texts):
    return dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *texts)


def soa(ttl, minimum, name="example.org"):
    return rrset(name, ttl, "SOA", f"ns.example.org. hostmaster.example.org. 1 2 3 4 {minimum}")


# --- questions --------------------------------------------------------------------------------


def test_a_question_asks_one_thing_recursively_with_edns():
    message = dns.message.from_wire(Question.about("example.org", "TXT").wire)
    (asked,) = message.question
    assert asked.name == dns.name.from_text("example.org")
    assert asked.rdtype == dns.rdatatype.TXT
    assert message.flags == dns.flags.RD
    assert message.edns == 0
    assert message.payload == 1232


def test_a_question_may_do_without_edns_and_ask_for_validation():
    message = dns.message.from_wire(Question.about("example.org", "A", edns=False, ad=True).wire)
    assert message.edns == -1
    assert message.flags == dns.flags.RD | dns.flags.AD


def test_ids_and_the_case_of_letters_are_drawn_by_chance():
    questions = [Question.about(NAME, "A") for _ in range(20)]
    assert len({question.wire[:2] for question in questions}) > 15
    assert len({question.section for question in questions}) == 20
    assert len({question.section.lower() for question in questions}) == 1


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("example.org", [b"example", b"org"]),
        ("example.org.", [b"example", b"org"]),
        ("bücher.example", [b"xn--bcher-kva", b"example"]),
        ("BÜCHER.example", [b"xn--bcher-kva", b"example"]),
        ("_dmarc.bücher.example", [b"_dmarc", b"xn--bcher-kva", b"example"]),
        ("a b\\.c.example", [b"a b\\", b"c", b"example"]),
        ("x" * 63 + ".example", [b"x" * 63, b"example"]),
        ("", []),
        (".", []),
    ],
)
def test_names_are_spelled_for_the_wire(name, labels):
    message = dns.message.from_wire(Question.about(name, "A").wire)
    assert [label.lower() for label in message.question[0].name.labels] == [*labels, b""]


@pytest.mark.parametrize(
    "name",
    ["x" * 64, "a..b", ".a", "a.b..", "ü" * 64, ".".join(["x" * 60] * 5), "\ud800", "a\u202e.b"],
)
def test_what_cannot_be_a_name_is_said_to_be_none(name):
    with pytest.raises(NoSuchName):
        Question.about(name, "A")


# --- which bytes are an answer ------------------------------------------------------------------


def test_the_answer_to_a_question_matches():
    question = Question.about(NAME, "A")
    assert question.match(answer_to(question)) is Match.ANSWER


def test_a_truncated_answer_is_told_apart():
    question = Question.about(NAME, "A")
    assert question.match(answer_to(question, flags=dns.flags.TC)) is Match.TRUNCATED


def test_an_answer_with_other_letters_is_a_look_alike():
    question = Question.about(NAME, "A")
    forged = answer_to(question).replace(question.section, question.section.swapcase())
    assert question.match(forged) is Match.LOOK_ALIKE


def test_an_error_may_lack_the_question():
    question = Question.about(NAME, "A")
    for rcode in (1, 2, 4, 5):
        head = question.wire[:2] + bytes([0x81, rcode]) + bytes(8)
        assert question.match(head) is Match.ANSWER
    assert question.match(question.wire[:2] + bytes([0x81, 0]) + bytes(8)) is Match.FOREIGN


@pytest.mark.parametrize(
    "spoil",
    [
        lambda question, answer: b"",
        lambda question, answer: answer[:11],
        lambda question, answer: bytes([answer[0] ^ 1]) + answer[1:],
        lambda question, answer: question.wire,
        lambda question, answer: answer[:4] + b"\x00\x02" + answer[6:],
        lambda question, answer: answer_to(Question.about(NAME, "A"))[2:],
        lambda question, answer: question.wire[:2] + answer_to(Question.about("a.b", "A"))[2:],
        lambda question, answer: question.wire[:2] + answer_to(Question.about(NAME, "MX"))[2:],
    ],
    ids=[
        "empty",
        "short",
        "other id",
        "a question",
        "two",
        "other bytes",
        "other name",
        "other type",
    ],
)
def test_anything_else_is_foreign(spoil):
    question = Question.about(NAME, "A")
    assert question.match(spoil(question, answer_to(question))) is Match.FOREIGN


# --- what an answer says ------------------------------------------------------------------------


def read(kind, *rrsets, name="example.org", trust_ad=False, **more):
    return read_answer(
        answer_to(Question.about(name, kind), *rrsets, **more), kind, trust_ad=trust_ad
    )


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("A", ["192.0.2.1", "192.0.2.2"], ("192.0.2.1", "192.0.2.2")),
        ("AAAA", ["2001:DB8::0:1"], ("2001:db8::1",)),
        ("MX", ["10 MX.Example.org.", "0 ."], ("10 mx.example.org", "0 ")),
        ("PTR", ["Host.Example.ORG."], ("host.example.org",)),
        ("CNAME", ["Other.example."], ("other.example",)),
        ("NS", ["ns.example."], ("ns.example",)),
        ("TXT", ['"v=spf1 " "-all"', '""'], ("v=spf1 -all", "")),
        ("TXT", ['"\\255\\252"'], ("\udcff\udcfc",)),
        ("TXT", ['"b\\195\\188cher"'], ("bücher",)),
        ("TLSA", ["3 1 1 " + "AB" * 32], ("3 1 1 " + "ab" * 32,)),
        ("CAA", ['0 issue "ca.example"'], ('0 issue "ca.example"',)),
    ],
)
def test_records_are_spelled_as_the_model_promises(kind, texts, expected):
    reading = read(kind, rrset("example.org", 300, kind, *texts))
    assert set(reading.answer.records) == set(expected)
    assert reading.ttl == 300
    assert reading.answer.exists


def test_aliases_are_followed_and_the_shortest_ttl_counts():
    reading = read(
        "A",
        rrset("www.example.org", 30, "CNAME", "a.example.net."),
        rrset("a.example.net", 600, "CNAME", "b.example.net."),
        rrset("b.example.net", 60, "A", "192.0.2.1"),
        rrset("c.example.net", 60, "A", "192.0.2.66"),
        name="www.example.org",
    )
    assert reading.answer == DnsAnswer(("192.0.2.1",))
    assert reading.ttl == 30


def test_records_that_nobody_asked_for_do_not_count():
    reading = read("A", rrset("other.example", 60, "A", "192.0.2.66"), authority=[soa(300, 60)])
    assert reading.answer.records == ()


def test_an_alias_to_nowhere_is_no_record():
    reading = read(
        "A", rrset("example.org", 30, "CNAME", "a.example."), authority=[soa(300, 60, "example")]
    )
    assert reading.answer == DnsAnswer()
    assert reading.ttl == 30


@pytest.mark.parametrize(("ttl", "minimum"), [(300, 60), (60, 300)])
def test_a_no_counts_for_as_long_as_the_soa_says(ttl, minimum):
    reading = read("A", authority=[soa(ttl, minimum)], rcode=dns.rcode.NXDOMAIN)
    assert reading.answer == DnsAnswer(exists=False)
    assert reading.ttl == 60
    assert read("A", authority=[soa(ttl, minimum)]).answer == DnsAnswer()


def test_a_no_without_a_soa_says_nothing_of_its_time():
    assert read("A", rcode=dns.rcode.NXDOMAIN).ttl is None


def test_the_bit_ad_counts_where_it_is_trusted():
    record = rrset("example.org", 300, "A", "192.0.2.1")
    for flags, trusted in ((0, True), (dns.flags.AD, False)):
        assert not read("A", record, flags=flags, trust_ad=trusted).answer.is_authentic
    assert read("A", record, flags=dns.flags.AD, trust_ad=True).answer.is_authentic


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "BADVERS"])
def test_an_error_is_no_answer(rcode):
    number = dns.rcode.from_text(rcode)
    reading = read("A", rcode=number, extended=rcode == "BADVERS")
    assert reading.failure == rcode


@pytest.mark.parametrize(
    "records",
    [
        [
            rrset(f"{n or 'www'}.example.org", 30, "CNAME", f"{n + 1}.example.org.")
            for n in range(40)
        ],
        [rrset("www.example.org", 30, "CNAME", "www.example.org.")],
    ],
    ids=["long", "circle"],
)
def test_aliases_without_an_end_are_no_answer(records):
    with pytest.raises(Unavailable):
        read("A", *records, name="www.example.org")


def test_an_answer_that_is_cut_off_cannot_be_read():
    question = Question.about("example.org", "A")
    whole = answer_to(question, rrset("example.org", 300, "A", "192.0.2.1"))
    for length in range(len(question.wire) - 11, len(whole)):
        with pytest.raises(Unavailable):
            read_answer(whole[:length], "A", trust_ad=False)
