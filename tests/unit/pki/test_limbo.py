"""C2SP's x509-limbo and Netflix's bettertls, as client certificates: the whole trust decision.

The cases are not ours and not part of the project: `../shared/vectors`, or the folder that
`GATEPOST_VECTORS` names. docs/x509-limbo.md has the figures and the cases that are not scored.
"""

import time
from datetime import UTC, datetime, timedelta

import pytest

from relay.model import Identity
from relay.pki.allowlist import Allowlist
from relay.pki.certificate import MalformedCertificate, parse_pem_chain
from relay.pki.chain import MAX_DEPTH, Anchors
from relay.pki.crl import check_crl, index_crl, parse_crls
from relay.pki.crl_lookup import CrlSource, HeldList
from relay.pki.revocation import Mode, Modes, Revocation
from relay.pki.serial_index import SerialIndex
from relay.pki.trust import decide
from tests.kit.vectors import needs_vectors, read_vectors

VECTORS = "limbo-client.json.gz"
SCORED = {"core", "crl", "dos", "pathbuilding"}
"""`branching` and `lint` are the adapter's words for what may be judged either way."""


CASES = [
    pytest.param(case, id=case["id"])
    for case in read_vectors(VECTORS, "testcases")
    if case["class"] in SCORED
]


def read_certificates(*texts):
    found = []
    for text in texts:
        try:
            found += parse_pem_chain(text.encode())
        except MalformedCertificate:
            continue  # junk beside a path, or a broken anchor: neither is there for us
    return found


def hold(texts, cas, now):
    """The lists among `texts` that one of the CAs has made, as the relay would hold them."""
    held = []
    for text in texts:
        for crl in parse_crls(text.encode()):
            makers = [ca for ca in cas if check_crl(crl, ca, now) is None]
            held += [HeldList(SerialIndex(index_crl(crl, ca))) for ca in makers]
    return held


def is_accepted(case):
    """Decide on the case's certificate, known by its names, or by its key where it has none."""
    when = case["validation_time"]
    now = datetime.fromisoformat(when) if when else datetime.now(UTC)
    leaf = parse_pem_chain(case["peer_certificate"].encode())
    others = read_certificates(*case["untrusted_intermediates"])
    roots = read_certificates(*case["trusted_certs"])
    try:
        key = (
            {"names": leaf[0].names}
            if leaf[0].names
            else {"pins": (f"spki:sha256:{leaf[0].spki_sha256}",)}
        )
    except MalformedCertificate:
        return False
    depth = case["max_chain_depth"]
    lists = case["crls"] or []
    revocation = Revocation(
        [CrlSource(hold(lists, [*roots, *others], now), timedelta(0))],
        Modes(Mode.HARD if lists else Mode.OFF),
    )
    anchors = Anchors(roots, MAX_DEPTH if depth is None else depth)
    allowlist = Allowlist([Identity("peer", chain="required", **key)])
    return decide([*leaf, *others], allowlist, anchors, now, revocation=revocation).is_trusted


@needs_vectors(VECTORS)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_x509_limbo(case):
    start = time.process_time()
    assert is_accepted(case) is (case["expected_result"] == "SUCCESS"), case["description"]
    assert time.process_time() - start < 0.5  # measured: 35 ms for the worst of them
