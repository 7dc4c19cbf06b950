"""The allowlist's parser: whatever the text, only ConfigurationError comes out, each on one line."""

from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigurationError
from relay.pki.allowlist import parse_allowlist
from relay.pki.certificate import Certificate, MalformedCertificate
from relay.pki.names import parse_name
from relay.pki.patterns import canonical_domain, parse_pattern
from relay.pki.pins import parse_pin, pin_of_pem
from tests.kit.fuzz import fuzz_settings, mutated
from tests.kit.pki import Authority

PIN = "ab" * 32
SEEDS = [
    f'[[identity]]\nname = "acme"\npins = ["spki:sha256:{PIN}"]\n'.encode(),
    b'[[identity]]\nname = "b"\nnames = ["dns:mail.acme.example", "uri:spiffe://a/b", "ip:::1"]\n',
    b'senders = ["@acme.example", "@.x.example", "u@b\xc3\xbccher.example", "*"]\n',
    b'recipients = ["\\"a b\\"@x.example"]\nheader_from = "any"\nchain = "required"\n',
    b'networks = ["192.0.2.0/24", "2001:db8::/32"]\ntier = "trusted"\n',
    b'not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-31\ncontact = """x\n[[identity]]"""\n',
    b'identity = [{ name = "c", pins = [] }]\n',
    b'[identity.x]\n"quoted key" = { a.b = 1 }\n',
]
TEXTS = st.one_of(mutated(SEEDS).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.text())


def check_one_line(error, *, has_line=False):
    assert not has_line or error.line
    for each in (error, *error.others):
        assert "\n" not in str(each)
        assert each.remedy


@fuzz_settings()
@given(TEXTS)
def test_an_allowlist_is_read_or_refused(text):
    try:
        allowlist = parse_allowlist(text, "allowlist.toml")
    except ConfigurationError as error:
        check_one_line(error, has_line=True)
    else:
        assert all(each.pins or each.names for each in allowlist)


@fuzz_settings()
@given(
    st.one_of(
        st.text(),
        mutated([f"spki:sha256:{PIN}".encode(), b"cert:sha256:" + b"A" * 43 + b"="]).map(
            lambda raw: raw.decode("latin-1")
        ),
    )
)
def test_a_pin_is_read_or_refused(text):
    try:
        pin = parse_pin(text)
    except ConfigurationError as error:
        check_one_line(error)
    else:
        assert parse_pin(str(pin)) == pin


@fuzz_settings()
@given(st.one_of(st.text(), st.text().map("dns:{}".format), st.text().map("uri:a://{}".format)))
def test_a_name_is_read_or_refused(text):
    try:
        name = parse_name(text)
    except ConfigurationError as error:
        check_one_line(error)
    else:
        assert parse_name(name) == name


@fuzz_settings()
@given(st.one_of(st.text(), st.text().map("@{}".format), st.text().map("a@xn--{}".format)))
def test_a_pattern_is_read_or_refused_and_domains_always_have_a_spelling(text):
    canonical_domain(text)
    try:
        parse_pattern(text)
    except ConfigurationError as error:
        check_one_line(error)


LEAF = Authority().issue(dns=["mail.acme.example"], ip=["192.0.2.1"], uri=["spiffe://a/b"])


@fuzz_settings()
@given(mutated([Certificate(LEAF.cert).der]))
def test_a_certificate_is_read_or_malformed(der):
    certificate = Certificate(der)
    for part in ("spki_sha256", "subject", "names", "not_after", "public_key", "signature_hash"):
        try:
            getattr(certificate, part)
        except MalformedCertificate:
            continue


@fuzz_settings()
@given(mutated([LEAF.pem]))
def test_a_pem_file_gives_a_pin_or_is_refused(pem):
    try:
        pin_of_pem(pem)
    except ConfigurationError as error:
        check_one_line(error)
