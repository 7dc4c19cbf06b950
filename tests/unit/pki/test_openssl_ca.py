"""A CA of `openssl ca`, root and intermediate, and its lists: `openssl verify -crl_check_all` and we agree."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from relay.pki.certificate import parse_pem_chain
from relay.pki.revocation import Mode, Modes, Outcome, Revocation
from relay.revocation.folder import CrlFolder
from relay.revocation.intake import RefusedCrl, take_crls
from relay.revocation.view import CrlView

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")

NOW = datetime.now(UTC)
CONFIGURATION = """
[ca]
default_ca = {name}
[{name}]
database = {name}.txt
new_certs_dir = .
certificate = {name}.pem
private_key = {name}.key
rand_serial = yes
unique_subject = no
crlnumber = {name}.crlnumber
default_md = sha256
default_crl_days = 7
default_days = 30
policy = any
[any]
commonName = supplied
[below]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
"""


class OpensslCa:
    """Two CAs in a folder, one below the other, and a leaf of the second."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("root", "issuing"):
            (folder / f"{name}.cnf").write_text(CONFIGURATION.format(name=name))
            (folder / f"{name}.txt").write_text("")
            (folder / f"{name}.crlnumber").write_text("1000\n")
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Root", "-days", "99", "-keyout", "root.key", "-out", "root.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        self.issue("root", "issuing", "below")
        self.issue("issuing", "client", "leaf")
        self.issue("issuing", "other", "leaf")

    def run(self, *words):
        done = subprocess.run(
            ["openssl", *words], cwd=self.folder, capture_output=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def issue(self, ca, name, extensions):
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        self.run("ca", "-batch", "-notext", "-config", f"{ca}.cnf", "-extensions", extensions, "-in", f"{name}.csr", "-out", f"{name}.pem")  # fmt: skip

    def revoke(self, ca, name, reason="keyCompromise"):
        self.run("ca", "-config", f"{ca}.cnf", "-revoke", f"{name}.pem", "-crl_reason", reason)

    def publish(self, ca, *options):
        out = f"{ca}.crl"
        self.run("ca", "-config", f"{ca}.cnf", "-gencrl", "-out", out, *options)
        return out

    def verify(self, *lists, name="client"):
        """Whether openssl takes a leaf, every certificate looked up in these lists."""
        words = ["verify", "-crl_check_all", "-CAfile", "root.pem", "-untrusted", "issuing.pem"]
        words += [word for each in lists for word in ("-CRLfile", each)]
        done = subprocess.run(
            ["openssl", *words, f"{name}.pem"], cwd=self.folder, capture_output=True, check=False
        )
        return done.returncode == 0

    def ask_us(self, *lists, name="client"):
        """What we say of it, with the same lists."""
        leaf, issuing, root = (
            parse_pem_chain((self.folder / f"{each}.pem").read_bytes())[0]
            for each in (name, "issuing", "root")
        )
        kept = CrlFolder(self.folder / "index")
        shutil.rmtree(self.folder / "index", ignore_errors=True)
        kept.prepare()
        for each in lists:
            try:
                take_crls((self.folder / each).read_bytes(), [issuing, root], kept, NOW)
            except RefusedCrl:
                pass
        view = CrlView(timedelta(0))
        view.replace(kept.read())
        judge = Revocation((view,), Modes(Mode.HARD)).judge
        return judge((leaf, issuing, root), NOW).outcome


@pytest.fixture
def ca(tmp_path):
    return OpensslCa(tmp_path)


def fresh(ca):
    return [ca.publish("root"), ca.publish("issuing")]


def leaf_revoked(ca):
    ca.revoke("issuing", "client")
    return fresh(ca)


def held(ca):
    ca.revoke("issuing", "client", "certificateHold")
    return fresh(ca)


def other_revoked(ca):
    ca.revoke("issuing", "other")
    return fresh(ca)


def issuing_revoked(ca):
    ca.revoke("root", "issuing", "CACompromise")
    return fresh(ca)


def only_the_leafs(ca):
    return [ca.publish("issuing")]


def only_the_roots(ca):
    return [ca.publish("root")]


def of_old(ca, name):
    dates = ("-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260108000000Z")
    return [ca.publish(each, *(dates if each == name else ())) for each in ("root", "issuing")]


def expired(ca):
    return of_old(ca, "issuing")


def expired_above(ca):
    return of_old(ca, "root")


def signed_by_another(ca):
    """The issuing CA's name, and another key: openssl has the list before the certificate says so."""
    lists = fresh(ca)
    good = {name: (ca.folder / name).read_bytes() for name in ("issuing.pem", "issuing.key")}
    ca.issue("root", "issuing", "below")
    ca.publish("issuing")
    for name, content in good.items():
        (ca.folder / name).write_bytes(content)
    return lists


def none(ca):
    return []


CASES = [
    (fresh, Outcome.GOOD),
    (leaf_revoked, Outcome.REVOKED),
    (held, Outcome.REVOKED),
    (other_revoked, Outcome.GOOD),
    (issuing_revoked, Outcome.REVOKED),
    (only_the_leafs, Outcome.NO_SOURCE),
    (only_the_roots, Outcome.NO_SOURCE),
    (expired, Outcome.STALE),
    (expired_above, Outcome.STALE),
    (signed_by_another, Outcome.NO_SOURCE),
    (none, Outcome.NO_SOURCE),
]


@pytest.mark.parametrize(("prepare", "outcome"), CASES)
def test_openssl_accepts_what_we_call_good(ca, prepare, outcome):
    lists = prepare(ca)
    assert ca.ask_us(*lists) is outcome
    assert ca.verify(*lists) == (outcome is Outcome.GOOD)


def test_openssls_lists_come_in_der_too(ca):
    ca.revoke("issuing", "client")
    lists = fresh(ca)
    for each in lists:
        ca.run("crl", "-in", each, "-outform", "DER", "-out", each)
    assert ca.ask_us(*lists) is Outcome.REVOKED
