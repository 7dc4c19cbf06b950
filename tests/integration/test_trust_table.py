"""Every trust status and every outcome of revocation through the real relay, with real certificates.

What the client is told, what goes on record and what the metrics count must be the same in each case. The
pure half of this table is `tests/unit/pki/test_trust.py`.
"""

import ssl
from datetime import UTC, timedelta
from typing import NamedTuple

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from relay.model import TrustStatus
from relay.pki.revocation import Outcome
from tests.kit.clients import session, transact
from tests.kit.http_client import ask
from tests.kit.ocsp_server import OcspServer
from tests.kit.pki import Authority, Issued, self_signed
from tests.kit.relay_process import RelayProcess, accepts, free_port, wait_until
from tests.kit.revocation import NOW, make_answer, make_crl

LONG_AGO, TOMORROW = NOW - timedelta(days=400), NOW + timedelta(days=1)
HUGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(17_000))

TOLD = {
    TrustStatus.PINNED: "250 ",
    TrustStatus.NAMED: "250 ",
    TrustStatus.ABSENT: "421 4.7.1 No client certificate presented",
    TrustStatus.UNPINNED: "421 4.7.1 Client certificate not on the allowlist, its key is spki:sha256:",
    TrustStatus.UNTRUSTED: "421 4.7.1 Client certificate not trusted",
    TrustStatus.EXPIRED: "421 4.7.1 Client certificate or its pin has expired",
    TrustStatus.NOT_YET_VALID: "421 4.7.1 Client certificate or its pin is not yet valid",
    TrustStatus.WRONG_USAGE: "421 4.7.1 Client certificate is not made for this use",
    TrustStatus.WEAK_KEY: "421 4.7.5 Client certificate is too weak",
    TrustStatus.MALFORMED: "421 4.7.5 Client certificate can't be read",
    TrustStatus.REVOKED: "554 5.7.1 Client certificate has been revoked",
    TrustStatus.REVOCATION_UNKNOWN: "451 4.7.5 Revocation status unknown, try again later",
    TrustStatus.SUSPENDED: "550 5.7.13 Identity suspended",
}
REFUSED_WHERE_OPTIONAL = {
    TrustStatus.REVOKED,
    TrustStatus.REVOCATION_UNKNOWN,
    TrustStatus.SUSPENDED,
}

# --- what is presented ----------------------------------------------------------------------------

ROOT, FOREIGN = Authority("Table Root"), Authority("Nobody's Root")
BETWEEN = Authority("Table Issuing", parent=ROOT)


class Case(NamedTuple):
    """A client: what it presents, the keys of its `[[identity]]`, and what it is found to be."""

    status: TrustStatus
    issued: Issued | None
    identity: str | None = None
    outcome: str | None = None
    """Of revocation, where it is asked about, and the source that said so."""


def pin(status, issued, *keys):
    return Case(status, issued, "\n".join((f'pins = ["{issued.pin}"]', *keys)))


def chain(status, issued, *keys):
    return pin(status, issued, 'chain = "required"', *keys)


def named(status, name, by=ROOT, *keys, outcome=None, **options):
    issued = by.issue(name, dns=(f"{name}.example",), **options)
    return Case(status, issued, "\n".join((f'names = ["dns:{name}.example"]', *keys)), outcome)


def own_name(name):
    issued = self_signed(name, dns=(f"{name}.example",))
    return Case(TrustStatus.UNTRUSTED, issued, f'names = ["dns:{name}.example"]')


def moment(at):
    return at.astimezone(UTC).isoformat()


S = TrustStatus
CASES = {
    "a pinned key": pin(S.PINNED, ROOT.issue()),
    "a pinned certificate": Case(
        S.PINNED, made := ROOT.issue(), f'pins = ["{made.cert_pin}"]'
    ),
    "a pinned key without a CA": pin(S.PINNED, self_signed()),
    "a pinned key, expired": pin(S.PINNED, ROOT.issue(not_before=LONG_AGO)),
    "a pinned key of a server": pin(S.PINNED, ROOT.issue(usages=("server",))),
    "a pinned key under a chain": chain(S.PINNED, BETWEEN.issue()),
    "a name": named(S.NAMED, "plain"),
    "a name under an intermediate": named(S.NAMED, "between", BETWEEN),
    "no certificate": Case(S.ABSENT, None),
    "not on the list": Case(S.UNPINNED, ROOT.issue()),
    "not on the list, foreign": Case(S.UNPINNED, FOREIGN.issue()),
    "a foreign CA": named(S.UNTRUSTED, "foreign", FOREIGN),
    "a name of its own making": own_name("own"),
    "a pin whose chain ends nowhere": chain(S.UNTRUSTED, FOREIGN.issue()),
    "expired": named(S.EXPIRED, "old", not_before=LONG_AGO),
    "a pin that has ended": pin(S.EXPIRED, ROOT.issue(), f"not_after = {moment(LONG_AGO)}"),
    "not yet valid": named(S.NOT_YET_VALID, "young", not_before=TOMORROW),
    "a pin that has not begun": pin(S.NOT_YET_VALID, ROOT.issue(), f"not_before = {moment(TOMORROW)}"),
    "suspended": pin(S.SUSPENDED, ROOT.issue(), 'suspended = { reason = "key stolen" }'),
    "an RSA key of 1024 bits": pin(S.WEAK_KEY, ROOT.issue(key="rsa1024")),
    "signed with SHA-1": named(S.WEAK_KEY, "sha1", sha1=True),
    "for signing code": pin(S.WRONG_USAGE, ROOT.issue(usages=("code",))),
    "a name for servers only": named(S.WRONG_USAGE, "server", usages=("server",)),
    "without digitalSignature": pin(S.WRONG_USAGE, ROOT.issue(digital_signature=False)),
    "larger than can be": pin(S.MALFORMED, ROOT.issue(extensions=[(HUGE, False)])),
}  # fmt: skip

# --- where revocation is asked about --------------------------------------------------------------

SOURCES = (
    "crl good", "crl revoked", "crl stale", "crl unreachable",
    "ocsp good", "ocsp revoked", "ocsp unknown", "ocsp unreachable",
    " no_source",
)  # fmt: skip
OUTCOMES = {each: Authority(f"CA with {each}") for each in SOURCES}


def expected(source, mode):
    outcome = source.partition(" ")[2]
    if mode == "off" or outcome == "good":
        return S.NAMED
    if outcome == "revoked":
        return S.REVOKED
    return S.REVOCATION_UNKNOWN if mode == "hard" else S.NAMED


for source, authority in OUTCOMES.items():
    for mode in ("hard", "soft", "off"):
        name = f"{source.strip().replace(' ', '-').replace('_', '-')}-{mode}"
        CASES[f"{source.strip()}, {mode}"] = named(
            expected(source, mode),
            name,
            authority,
            f'revocation = "{mode}"',
            outcome=None if mode == "off" else source,
        )


def clients_of(source):
    name = OUTCOMES[source].name
    return [
        each.issued for each in CASES.values() if each.issued and each.issued.cert.issuer == name
    ]


def write_lists(folder):
    """The CRLs that the configuration names, as files; their keys of the configuration."""
    old = {"at": NOW - timedelta(days=9), "until": NOW - timedelta(days=2)}
    made = {
        "crl good": make_crl(OUTCOMES["crl good"]),
        "crl revoked": make_crl(OUTCOMES["crl revoked"], clients_of("crl revoked")),
        "crl stale": make_crl(OUTCOMES["crl stale"], **old),
    }
    for source, content in made.items():
        (folder / f"{source}.crl").write_bytes(content)
    return {source: {"crl_files": [str(folder / f"{source}.crl")]} for source in made}


def responder():
    """Answers for the CAs that are asked by OCSP."""
    known = {
        issued.cert.serial_number: (source, issued)
        for source in ("ocsp good", "ocsp revoked", "ocsp unknown")
        for issued in clients_of(source)
    }

    def answer(request):
        source, issued = known[request.serial_number]
        word = source.partition(" ")[2]
        return make_answer(issued, OUTCOMES[source], status=word, nonce=nonce_of(request))

    return OcspServer(answer)


def nonce_of(request):
    try:
        return request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None


class Table:
    """The relay that all cases meet, with what it tells of them."""

    def __init__(self, relay, admin, site):
        self.relay = relay
        self._admin = admin
        self._site = site

    def context(self, case, version, files):
        context = ssl.create_default_context(cafile=str(self._site.ca))
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        if case.issued is not None:
            context.load_cert_chain(*files)
        return context

    def figures(self):
        page = ask(self._admin, "GET", "/metrics").body.decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


def revocation(folder, asked):
    """The authorities of the configuration, and the anchors of its listeners."""
    dead = f"http://127.0.0.1:{free_port()}/"
    sources = {
        **write_lists(folder),
        "crl unreachable": {"crl_urls": [dead]},
        "ocsp unreachable": {"ocsp_urls": [dead]},
        **{f"ocsp {each}": {"ocsp_urls": [asked.url]} for each in ("good", "revoked", "unknown")},
        "root": {"mode": "off"},
    }
    authorities, anchors = [], []
    for number, (source, authority) in enumerate([("root", ROOT), *OUTCOMES.items()]):
        path = folder / f"ca{number}.pem"
        path.write_bytes(authority.pem)
        anchors.append(str(path))
        if source in sources:
            authorities.append({"certificate": str(path), **sources[source]})
    return authorities, anchors


@pytest.fixture(scope="module")
def table(site, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    admin, public = free_port(), free_port()
    allowlist = "".join(
        f'[[identity]]\nname = "case-{number}"\n{case.identity}\n'
        for number, case in enumerate(CASES.values())
        if case.identity is not None
    )
    with responder() as asked:
        authorities, anchors = revocation(folder, asked)
        settings = site.settings(
            upstream.port,
            admin={"address": f"127.0.0.1:{admin}"},
            listener={"client_ca": anchors, "revocation": "soft", "policy": []},
            revocation={
                "allow_private_addresses": True,
                "ocsp_timeout": "5s",
                "retry": "1m",
                "authority": authorities,
            },
        )
        optional = {"name": "public", "client_certificate": "optional"}
        address = {"address": f"127.0.0.1:{public}"}
        settings["listener"].append({**settings["listener"][0], **optional, **address})
        settings["route"]["dest.example"] = settings["route"]["*"]  # for strangers, too
        with RelayProcess(folder, settings, allowlist) as relay:
            wait_until("the metrics are served", lambda: accepts(admin))
            yield Table(relay, admin, site)


@pytest.fixture(scope="module")
def files(site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    return {
        what: case.issued.write(folder, f"client{number}")
        for number, (what, case) in enumerate(CASES.items())
        if case.issued is not None
    }


def test_every_status_and_every_outcome_is_in_the_table():
    assert {each.status for each in CASES.values()} == set(TrustStatus)
    assert set(TOLD) == set(TrustStatus)
    assert {each.partition(" ")[2] for each in SOURCES} == set(Outcome)


def test_the_metrics_say_how_certificates_and_lists_are(table):
    figures = table.figures()

    def value(name, **labels):
        return figures[f"gatepost_{name}", tuple(sorted(labels.items()))]

    assert value("flaws", kind="stale_list") == 1
    assert value("flaws", kind="no_revocation_source") == 1
    assert value("flaws", kind="expired") == 0
    assert value("identities", state="suspended") == 1
    end = value("revocation_list_next_update_time_seconds", issuer="CN=CA with crl stale")
    assert end == (NOW - timedelta(days=2)).timestamp()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("listener", ["partners", "public"])
@pytest.mark.parametrize("what", CASES)
def test_reply_record_and_metric_agree(table, files, what, listener, version):
    case, relay = CASES[what], table.relay
    before = table.figures()
    started = len(relay.audit())
    with session(relay.ports[listener], table.context(case, version, files.get(what))) as client:
        client.ehlo("client.example")
        answer = transact(client)
    is_refused = TOLD[case.status][:3] != "250" and (
        listener == "partners" or case.status in REFUSED_WHERE_OPTIONAL
    )
    told = f"{answer.code} {answer.text}"
    assert told.startswith(TOLD[case.status] if is_refused else "250 "), told

    records = [each for each in relay.audit()[started:] if each["kind"] != "admin"]
    handshake = records[0]
    assert handshake["kind"] == "handshake"
    assert handshake["status"] == case.status
    assert handshake["listener"] == listener
    assert handshake["tls_version"] == version.name.replace("_", ".")
    assert handshake.get("reply") == (told if is_refused else None)
    assert (handshake.get("revocation"), handshake.get("revocation_source")) == asked_of(case)
    if is_refused:
        (refusal,) = records[1:]
        assert (refusal["kind"], refusal["rule"], refusal["reply"]) == ("refusal", "trust", told)
        assert answer.reference == refusal["reference"] == handshake["reference"]
    else:
        (transaction,) = records[1:]
        assert (transaction["kind"], transaction["outcome"]) == ("transaction", "delivered")

    after = table.figures()
    assert after.items() - before.items() >= counted(before, records)
    assert changed(after, before, "handshakes") == 1
    assert changed(after, before, "revocations") == ("revocation" in handshake)
    assert changed(after, before, "refusals") == is_refused


def asked_of(case):
    if case.outcome is None:
        return None, None
    source, _, outcome = case.outcome.partition(" ")
    return outcome, source or None


def counted(before, records):
    """What the metrics must say after these records: the labels are the fields of the records."""
    found = set()
    for record in records:
        for kind, name, labels in (
            ("handshake", "handshakes", ("listener", "status", "tls_version")),
            ("handshake", "revocations", ("revocation", "revocation_source")),
            ("refusal", "refusals", ("rule",)),
            ("transaction", "deliveries", ("outcome", "route")),
        ):
            if record["kind"] == kind and labels[0] in record:
                values = tuple((each, record.get(each, "")) for each in labels)
                key = f"gatepost_{name}_total", values
                found.add((key, before.get(key, 0) + 1))
    return found


def changed(after, before, counter):
    name = f"gatepost_{counter}_total"
    return sum(value - before.get(key, 0) for key, value in after.items() if key[0] == name)
