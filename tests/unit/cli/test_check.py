"""`gatepost check`: usable, fit for production, and do the next hops answer."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from relay.cli.findings import Machine, find
from relay.cli.main import app
from relay.config import load
from relay.errors import ConfigurationError
from relay.material import load_material
from tests.kit.dkim import pem, rsa_key
from tests.kit.pki import Authority
from tests.kit.upstream import Script, Upstream

ROOMY = Machine(datetime.now(UTC), is_root=False, max_descriptors=1_000_000)


def check(site, *arguments):
    return CliRunner().invoke(app, ["check", "--config", str(site.configuration), *arguments])


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def findings(site, machine=ROOMY):
    configuration = load(site.configuration, {})
    return find(configuration, load_material(configuration), machine)


def problems(site, machine=ROOMY):
    """The problems and their places, as "file:line: problem"."""
    found = [each for each in findings(site, machine) if each.level != "ok"]
    assert all(each.remedy for each in found)
    return [f"{each.place}: {each.problem}".replace(f"{site.folder}/", "") for each in found]


def has(site, text, machine=ROOMY):
    return any(text in problem for problem in problems(site, machine))


def replace_server_certificate(site, **options):
    authority = Authority("Some CA")
    options = {"dns": ("edge.example.com",), "usages": ("server",), "days": 365, **options}
    issued = authority.issue("edge", **options)
    site.server.key_path.unlink()
    issued.write(site.server.chain_path.parent, "edge")


# --- what is found ----------------------------------------------------------------------------


def test_a_new_site_is_told_what_to_change(site):
    assert problems(site) == [
        'gatepost.toml:5: `hostname` = "edge.example.com" is an example',
        'gatepost.toml:16: listener "edge" is reached from this machine only',
        (
            "gatepost.toml:21: the certificate in tls/edge.pem is of a private CA "
            "(CN=Gatepost CA of edge.example.com)"
        ),
        'allowlist.toml:11: "first": no contact',
    ]


def test_a_site_in_good_order_has_no_findings(site, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(site.ca.certificate_path))
    change(site.configuration, '"edge.example.com"', '"edge.gatepost.dev"')
    change(site.configuration, "127.0.0.1:2525", "0.0.0.0:25")
    replace_server_certificate(site, dns=("edge.gatepost.dev",))
    site.ca.certificate_path.write_bytes(Authority("Some CA").pem)
    change(site.allowlist, 'name = "first"', 'name = "first"\ncontact = "me@gatepost.dev"')
    assert problems(site) == []
    assert {each.level for each in findings(site)} == {"ok"}


@pytest.mark.parametrize("name", ["edge", "edge.local", "edge.localdomain"])
def test_a_hostname_that_nobody_can_look_up(site, name):
    change(site.configuration, '"edge.example.com"', f'"{name}"')
    assert has(site, f'gatepost.toml:5: `hostname` = "{name}" is no name that others can look up')


def test_a_port_where_no_mta_looks(site):
    change(site.configuration, "127.0.0.1:2525", "0.0.0.0:2525")
    assert has(site, 'gatepost.toml:16: listener "edge" is on port 2525, where no MTA looks')


def test_root_workers(site):
    as_root = Machine(ROOMY.now, is_root=True, max_descriptors=ROOMY.max_descriptors)
    assert has(site, "the workers would run as root", as_root)
    change(site.configuration, "hostname =", 'user = "nobody"\nhostname =')
    assert not has(site, "user", as_root)
    change(site.configuration, '"nobody"', '"no-such-user"')
    assert has(site, 'there is no user "no-such-user"', as_root)


def test_reports_that_nothing_signs(site):
    key = site.folder / "s1.key"
    key.write_bytes(pem(rsa_key()))
    key.chmod(0o600)
    text = site.configuration.read_text()
    reports = f'{text}\n[dmarc_reports]\nenabled = true\nsender = "dmarc@gatepost.dev"\n'
    site.configuration.write_text(reports)
    assert has(site, "nothing signs the reports: there is no key of gatepost.dev for authors")
    own = f'[[dkim.key]]\ndomain = "Gatepost.dev"\nselector = "s1"\nkey = "{key}"\n'
    site.configuration.write_text(reports + own)
    assert not has(site, "nothing signs")
    site.configuration.write_text(reports + own + 'use = ["seal"]\n')
    assert has(site, "nothing signs")


def test_too_few_file_descriptors(site):
    def tight(limit):
        return Machine(ROOMY.now, is_root=False, max_descriptors=limit)

    assert has(site, "1000 connections, each with one to a next hop, need 2000 file", tight(1999))
    assert not has(site, "file descriptors", tight(2000))


def test_a_server_certificate_near_its_end(site):
    replace_server_certificate(site, days=90, not_before=ROOMY.now - timedelta(days=70))
    assert has(site, "tls/edge.pem expires on")
    assert has(site, "in 19 days")


def test_a_client_certificate_after_its_end(site):
    later = Machine(
        ROOMY.now + timedelta(days=400), is_root=False, max_descriptors=ROOMY.max_descriptors
    )
    assert has(site, "tls/edge.pem expired on", later)


def test_a_server_certificate_for_something_else(site):
    replace_server_certificate(site, dns=("other.example.com",), usages=("client",))
    assert has(
        site, "gatepost.toml:21: the certificate in tls/edge.pem is not for edge.example.com"
    )
    assert has(site, "gatepost.toml:21: the certificate in tls/edge.pem is not for servers")


def test_a_wildcard_certificate_will_do(site):
    replace_server_certificate(site, dns=("*.example.com",))
    assert not has(site, "is not for")


def test_an_rsa_key_of_other_times(site):
    replace_server_certificate(site, key="rsa1024")
    assert has(site, "gatepost.toml:21: tls/edge.pem has an RSA key of 1024 bits")


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_key_that_others_can_read(site, mode, is_open):
    site.server.key_path.chmod(mode)
    assert has(site, f"tls/edge.key is open to others (mode {mode:04o})") is is_open


def test_routes_without_protection(site):
    change(site.configuration, 'tls = "verify"', 'tls = "off"\nunsafe_plaintext = true')
    text = site.configuration.read_text().rpartition("# Our own certificate")[0]
    site.configuration.write_text(text)
    assert has(site, 'mail for route "*" crosses the network in clear')
    assert has(site, '`ca` says nothing with `tls` = "off"')


def test_cas_at_a_listener_that_asks_nobody(site):
    change(site.configuration, '"required"', '"off"')
    change(site.configuration, '[route."*"]', '[route."example.com"]')
    assert has(site, '`client_ca` says nothing with `client_certificate` = "off"')


def test_an_empty_allowlist(site):
    site.allowlist.write_text("")
    assert has(site, "the allowlist is empty: nobody is known")


def test_identities_that_want_attention(site):
    soon, past = ROOMY.now + timedelta(days=9), ROOMY.now - timedelta(days=9)
    with site.allowlist.open("a") as file:
        for number, extra in enumerate(
            [
                'contact = "x@x.example"',
                f'senders = ["@x.example"]\nnot_after = {soon:%Y-%m-%d}',
                f'senders = ["*"]\nnot_after = {past:%Y-%m-%d}',
            ]
        ):
            pin = f"{number:064x}"
            file.write(
                f'\n[[identity]]\nname = "i{number}"\npins = ["cert:sha256:{pin}"]\n{extra}\n'
            )
    assert problems(site)[-4:] == [
        'allowlist.toml:11: "first" (and 2 more): no contact',
        'allowlist.toml:16: "i0" (and 1 more): no limit to its senders',
        'allowlist.toml:21: "i1": ends soon',
        'allowlist.toml:27: "i2": has ended',
    ]


def test_names_that_no_listener_can_check(site):
    change(site.allowlist, "pins = ", 'names = ["dns:x.example"]\n# ')
    assert not has(site, "known by name only")
    change(site.configuration, 'client_ca = ["ca/root.pem"]', "")
    assert has(site, 'allowlist.toml:11: "first": known by name only')


# --- the command ------------------------------------------------------------------------------


def test_exit_code_1_and_the_findings_with_place_and_remedy(site):
    outcome = check(site)
    assert outcome.exit_code == 1
    assert "gatepost.toml:16: listener" in outcome.output
    assert "for the world: address" in outcome.output


def test_the_findings_in_json(site):
    outcome = check(site, "--json")
    assert outcome.exit_code == 1
    found = json.loads(outcome.output)
    assert {frozenset(each) for each in found} == {
        frozenset({"level", "place", "problem", "remedy"})
    }


def test_exit_code_0_when_all_is_well(site, monkeypatch):
    monkeypatch.setattr("relay.cli.findings.find", lambda *_: [])
    outcome = check(site)
    assert (outcome.exit_code, outcome.output.strip()) == (0, "All is well.")


def test_a_configuration_with_mistakes_is_unusable(site):
    change(site.configuration, "hostname =", "hostnam =")
    outcome = check(site)
    assert isinstance(outcome.exception, ConfigurationError)  # `main` makes lines and code 2 of it
    outcome = check(site, "--json")
    assert outcome.exit_code == 2
    assert json.loads(outcome.output) == [
        {
            "level": "error",
            "place": f"{site.configuration}:5",
            "problem": "unknown key `hostnam`",
            "remedy": "did you mean `hostname`?",
        }
    ]


# --- next hops --------------------------------------------------------------------------------


def last(site):
    outcome = check(site, "--connect", "--json")
    finding = json.loads(outcome.output)[-1]
    assert finding["place"].startswith('route "*", 127.0.0.1:')
    return finding


def use_upstream(site, upstream):
    change(site.configuration, "127.0.0.1:2526", f"127.0.0.1:{upstream.port}")


def test_a_next_hop_that_answers(site):
    with Upstream(site.server.chain_path, site.server.key_path) as upstream:
        use_upstream(site, upstream)
        finding = last(site)
    assert finding["level"] == "ok"
    assert "TLSv1.3" in finding["problem"]
    assert "PIPELINING" in finding["problem"]
    assert upstream.messages == []


def test_a_next_hop_that_is_away(site):
    with Upstream(site.server.chain_path, site.server.key_path) as upstream:
        use_upstream(site, upstream)
        upstream.stop()
        finding = last(site)
    assert finding["level"] == "error"
    assert "start it" in finding["remedy"]


def test_a_next_hop_of_another_ca(site, tmp_path):
    chain, key = (
        Authority()
        .issue("mx", dns=("localhost",), ip=("127.0.0.1",), usages=("server",))
        .write(tmp_path, "mx")
    )
    with Upstream(chain, key) as upstream:
        use_upstream(site, upstream)
        finding = last(site)
    assert finding["level"] == "error"
    assert finding["problem"].startswith("TLS: ")
    assert "`ca`" in finding["remedy"]


def test_a_next_hop_without_starttls(site):
    script = Script(replies={"starttls": "454 4.7.0 Not now"})
    with Upstream(site.server.chain_path, site.server.key_path, script) as upstream:
        use_upstream(site, upstream)
        finding = last(site)
    assert finding["level"] == "error"
