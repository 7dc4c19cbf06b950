"""Reports: which row a message is, and the file by the schema of RFC 9990."""

import gzip
from datetime import UTC, datetime, timedelta

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from relay.mailauth.dmarc import DmarcResult, DmarcVerdict, PublishedPolicy
from relay.mailauth.dmarc_record import Disposition, parse_dmarc_record
from relay.mailauth.dmarc_report import NAMESPACE, Observation, Report, format_report, observe
from relay.mailauth.spf import SpfResult
from relay.mailauth.verification import DkimResult
from tests.kit.dmarc_report import read_report

RUA = "rua=mailto:d@example.org!10m"
BEGIN = datetime(2026, 11, 20, tzinfo=UTC)


def verdict(result="fail", tags="p=reject", asks_for="reject", **aligned):
    record = parse_dmarc_record(f"v=DMARC1; {tags}; {RUA}")
    policy = PublishedPolicy("example.org", record, Disposition(asks_for))
    return DmarcVerdict(DmarcResult(result), "mail.example.org", policy, **aligned)


def seen(found=None, *, refused=False, is_trusted=False, signatures=()):
    return observe(
        found or verdict(),
        "192.0.2.1",
        ("example.net", "fail"),
        signatures,
        envelope_from="example.net",
        refused=refused,
        is_trusted=is_trusted,
    )


@pytest.mark.parametrize(
    ("found", "how", "expected"),
    [
        (verdict("pass", spf=True), {}, ("pass", "", "fail", "pass")),
        (verdict("pass", dkim=True), {"refused": True}, ("pass", "", "pass", "fail")),
        (verdict("pass", tags="p=none", asks_for="none", spf=True), {}, ("none", "", "fail", "pass")),
        (verdict(), {"refused": True}, ("reject", "", "fail", "fail")),
        (verdict(), {}, ("none", "local_policy", "fail", "fail")),
        (verdict(), {"is_trusted": True}, ("none", "trusted_forwarder", "fail", "fail")),
        (verdict(tags="p=reject; t=y"), {}, ("none", "policy_test_mode", "fail", "fail")),
        (verdict(tags="p=quarantine", asks_for="quarantine"), {}, ("quarantine", "", "fail", "fail")),
        (verdict(tags="p=none", asks_for="none"), {"refused": True}, ("none", "", "fail", "fail")),
        (verdict("temperror"), {}, ("none", "", "fail", "fail")),
    ],
)  # fmt: skip
def test_what_was_done_and_why(found, how, expected):
    _, row = seen(found, **how)
    assert (row.disposition, row.reason, row.dkim, row.spf) == expected


def test_nobody_is_told_who_does_not_ask():
    record = parse_dmarc_record("v=DMARC1; p=reject")
    policy = PublishedPolicy("example.org", record, Disposition.REJECT)
    assert seen(DmarcVerdict(DmarcResult.FAIL, "example.org", policy)) is None
    assert seen(DmarcVerdict(DmarcResult.NONE, "example.org")) is None


def test_what_was_published_is_told_as_it_counts():
    published, _ = seen(verdict(tags="p=reject; sp=none; np=quarantine; adkim=s; t=y; fo=1"))
    assert published == (
        "example.org", "reject", "none", "quarantine", "s", "r", "y", "1",
        (("d@example.org", 10 * 2**20),),
    )  # fmt: skip


def test_signatures_come_in_the_order_of_what_they_tell_and_not_without_end():
    many = [(f"d{n}.example", "s", "fail") for n in range(200)]
    signatures = [*many, ("other.example", "s", "pass"), ("mail.example.org", "s", "pass")]
    _, row = seen(signatures=signatures)
    assert [each[0] for each in row.signatures[:2]] == ["mail.example.org", "other.example"]
    assert len(row.signatures) == 100


def test_a_signature_that_names_nobody_is_not_told():
    _, row = seen(
        signatures=[
            ("", "", "permerror"),
            ("example.net", "", "permerror"),
            ("a.example", "s", "fail"),
        ]
    )
    assert row.signatures == (("a.example", "s", "fail"),)


def report(rows=None, **tags):
    published, row = seen(signatures=[("example.net", "s1", "pass")], refused=True)
    return Report(
        published._replace(**tags), BEGIN, BEGIN + timedelta(days=1), "edge.example",
        "dmarc@edge.example", rows or {row: 7},
    )  # fmt: skip


def parsed(made):
    return read_report(format_report(made))


def shape(element):
    """The tree as text: names in their order, with their texts."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    inner = [shape(each) for each in element]
    return f"{name}({' '.join(inner)})" if inner else f"{name}={element.text or ''}"


def test_the_file_by_the_schema():
    assert shape(parsed(report())) == (
        "feedback(version=1.0"
        " report_metadata(org_name=edge.example email=dmarc@edge.example"
        " report_id=edgeexample1795132800@edge.example"
        " date_range(begin=1795132800 end=1795219200) generator=Gatepost)"
        " policy_published(domain=example.org discovery_method=treewalk p=reject fo=0 adkim=r"
        " aspf=r testing=n)"
        " record(row(source_ip=192.0.2.1 count=7"
        " policy_evaluated(disposition=reject dkim=fail spf=fail))"
        " identifiers(header_from=mail.example.org envelope_from=example.net)"
        " auth_results(dkim(domain=example.net selector=s1 result=pass)"
        " spf(domain=example.net scope=mfrom result=fail))))"
    )


def test_a_reason_and_the_wishes_for_subdomains_are_there_if_they_are():
    _, row = seen(is_trusted=True)
    text = shape(parsed(report({row: 1}, sp="none", np="reject")))
    assert "p=reject sp=none np=reject fo=0" in text
    assert "spf=fail reason(type=trusted_forwarder)" in text


def test_the_same_report_has_the_same_bytes_and_names():
    made = report()
    assert format_report(made) == format_report(made)
    assert made.filename == (
        "edge.example!example.org!1795132800!1795219200!edgeexample1795132800.xml.gz"
    )
    assert made.subject == (
        "Report Domain: example.org Submitter: edge.example"
        " Report-ID: <edgeexample1795132800@edge.example>"
    )


@pytest.mark.parametrize("result", [*SpfResult])
def test_each_result_of_spf_is_a_word_of_the_schema(result):
    _, row = seen(refused=True)
    assert f"scope=mfrom result={result.value}" in shape(
        parsed(report({row._replace(spf_result=result.value): 1}))
    )


@pytest.mark.parametrize("result", [*DkimResult])
def test_each_result_of_a_signature_is_a_word_of_the_schema(result):
    _, row = seen(signatures=[("example.net", "s1", result.value)])
    assert f"selector=s1 result={result.value}" in shape(parsed(report({row: 1})))


@pytest.mark.parametrize("policy", [*Disposition])
@pytest.mark.parametrize("found", [*DmarcResult])
@pytest.mark.parametrize("is_test", ["y", "n"])
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("is_trusted", [True, False])
def test_whatever_becomes_of_a_message_the_schema_has_words_for_it(
    policy, found, is_test, refused, is_trusted
):
    made = verdict(found.value, tags=f"p={policy.value}; t={is_test}", asks_for=policy.value)
    published, row = seen(made, refused=refused, is_trusted=is_trusted)
    told = Report(
        published, BEGIN, BEGIN + timedelta(days=1), "edge.example", "d@edge.example", {row: 1}
    )
    assert f"disposition={row.disposition}" in shape(parsed(told))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "<b>", "]]>", "&lt;", "<!--", '"\'', "a\tb\r\nc", "\0\x07\x1b", "\ufffe\uffff", "\udcff\ud800",
        "\u202e\u2028\x85", "\U0001f600", "x" * 5000, "</domain><domain>bank.example", "<!DOCTYPE a [<!ENTITY b 'c'>]>&b;",
        "xn--a.example", "*.example", "_dmarc._domainkey", "bücher.example", "%00",
    ],
)  # fmt: skip
def test_what_attackers_write_stays_text_where_it_belongs(text):
    row = Observation(
        "192.0.2.1", "none", "fail", "fail", "", text, text, text, "fail", ((text, text, "fail"),)
    )  # fmt: skip
    root = parsed(report({row: 1}, domain=text, fo=text))
    assert len(root.findall(f"{{{NAMESPACE}}}record")) == 1
    assert len({each.text for each in root.iter(f"{{{NAMESPACE}}}domain")}) == 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"<p>reject</p>", b"<p>refuse</p>"),
        (b"<p>reject</p>", b""),
        (b"<scope>mfrom</scope>", b"<scope>helo</scope>"),
        (b"<disposition>reject</disposition>", b""),
        (b"<count>7</count>", b"<count>seven</count>"),
        (b"xml:ns:dmarc-2.0", b"xml:ns:dmarc-1.0"),
        (b"<version>1.0</version>", b"<version>1.0</version><stranger/>"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_is_no_report(right, wrong):
    made = gzip.decompress(format_report(report()))
    assert right in made
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        read_report(gzip.compress(made.replace(right, wrong)))


@given(st.lists(st.text(max_size=20), min_size=4, max_size=4))
def test_whatever_others_write_the_file_is_xml(texts):
    row = Observation(
        "192.0.2.1", "none", "fail", "fail", "", texts[0], texts[1], texts[2], "fail",
        ((texts[3], texts[0], "pass"),),
    )  # fmt: skip
    found = parsed(report({row: 1}))
    assert len(found.findall(f"{{{NAMESPACE}}}record")) == 1
