"""`gatepost check` on stapling: what clients would miss beside our certificate, and what helps."""

import pytest
from cryptography import x509

from relay.cli.staple_findings import find_unstapled
from relay.config import load
from relay.material import load_material
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority

URL = access_to("http://ocsp.example")
MUST = (x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
ROOT = Authority("Root")
ISSUING = Authority("Issuing", parent=ROOT)


def findings(site, issued, extra="", must_staple="warn"):
    site.server.key_path.unlink()
    issued.write(site.server.chain_path.parent, "edge")
    text = site.configuration.read_text()
    old = "[[listener]]\n"
    assert text.count(old) == 1
    text = text.replace(old, f'{old}must_staple = "{must_staple}"\n')
    site.configuration.write_text(text + extra)
    configuration = load(site.configuration, {})
    return list(find_unstapled(configuration, load_material(configuration)))


def edge(by, *extensions):
    return by.issue("edge", dns=("edge.example.com",), usages=("server",), extensions=extensions)


@pytest.mark.parametrize(
    "issued", [edge(ISSUING, URL), edge(ISSUING, URL, MUST), edge(ISSUING), edge(ROOT)]
)
def test_what_can_be_stapled_or_wants_no_answer_is_in_order(site, issued):
    assert findings(site, issued) == []


def test_a_ca_that_is_not_in_the_chain_is_said(site):
    (found,) = findings(site, edge(ROOT, URL))
    assert found.level == "warning"
    assert "its CA's certificate is not in it" in found.problem
    assert found.place.startswith(str(site.configuration))
    assert "append the CA's certificate" in found.remedy


def test_and_that_the_configuration_names_it_helps(site):
    path = site.folder / "root.pem"
    path.write_bytes(ROOT.pem)
    extra = f'\n[[revocation.authority]]\ncertificate = "{path}"\nmode = "off"\n'
    assert findings(site, edge(ROOT, URL), extra) == []


@pytest.mark.parametrize(("must_staple", "level"), [("warn", "warning"), ("refuse", "error")])
@pytest.mark.parametrize(
    ("issued", "problem"),
    [(edge(ROOT, URL, MUST), "is not in it"), (edge(ISSUING, MUST), "names no responder")],
)
def test_a_demand_that_cannot_be_met_is_worse(site, issued, problem, must_staple, level):
    (found,) = findings(site, issued, must_staple=must_staple)
    assert found.level == level
    assert problem in found.problem
    assert "clients will refuse it" in found.problem


def test_without_fetching_only_a_demand_suffers(site):
    extra = "\n[revocation]\nfetch = false\n"
    (found,) = findings(site, edge(ISSUING, URL, MUST), extra)
    assert "`revocation.fetch` = false" in found.problem


def test_without_fetching_and_without_a_demand_nothing_is_said(site):
    assert findings(site, edge(ISSUING, URL), "\n[revocation]\nfetch = false\n") == []
