"""`gatepost cert invite`, `invitations`, `enroll` and `renew --est`: both sides, over real TLS."""

import json
import os
import ssl
import sys

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.allowlist_file import add_identity, read_allowlist
from relay.cli.new_site import create_site
from relay.key_files import encode_private_key
from relay.pki.certificate import parse_pem_chain
from tests.kit.command_line import gatepost
from tests.kit.est import EstSite
from tests.kit.http_server import Served
from tests.kit.pki import Authority, make_key


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEPOST_EST_TOKEN", raising=False)
    made = EstSite(tmp_path / "site")
    with Served(made.server) as served:
        made.url = f"https://localhost:{served.port}"
        yield made


@pytest.fixture
def partner(tmp_path):
    folder = tmp_path / "partner"
    folder.mkdir()
    return folder


def run(site, *words):
    return gatepost(*words, "--config", site.folder / "gatepost.toml")


def invite(site, *options, name="acme"):
    outcome = run(site, "cert", "invite", name, "--json", *options)
    assert outcome.code == 0, outcome.errors
    return outcome.json


def enroll(site, partner, token, *options, name="acme"):
    trust = () if {"--ca", "--root-sha256"} & set(options) else ("--ca", site.ca.certificate_path)
    return gatepost(
        "cert", "enroll", name, "--url", site.url, "--token", token, "--out", partner, *trust, *options
    )  # fmt: skip


def leaf(partner, name="acme"):
    return parse_pem_chain((partner / f"{name}.pem").read_bytes())[0]


# --- invite --------------------------------------------------------------------------------------


def test_people_are_told_the_token_once_and_what_the_partner_types(site):
    outcome = run(site, "cert", "invite", "acme", "--senders", "@acme.example")
    assert outcome.code == 0, outcome.errors
    assert "gatepost cert enroll acme" in outcome.output
    assert site.ca.certificate().sha256 in outcome.output
    assert "[est] address is not set" in outcome.output
    token = next(line.split()[1] for line in outcome.output.splitlines() if line[:5] == "token")
    listed = run(site, "cert", "invitations")
    assert "acme" in listed.output
    assert token not in listed.output


def test_an_invitation_can_be_withdrawn(site, partner):
    token = invite(site)["token"]
    assert run(site, "cert", "invite", "acme", "--withdraw").code == 0
    assert run(site, "cert", "invitations", "--json").json == []
    assert enroll(site, partner, token).code == 1
    again = run(site, "cert", "invite", "acme", "--withdraw")
    assert (again.code, again.errors.count("\n")) == (2, 1)


def test_an_identity_that_is_removed_does_not_come_back_by_its_invitation(site, partner):
    token = invite(site)["token"]
    invite(site, name="other")
    run(site, "pin", "add", "acme", "--pin", f"spki:sha256:{'ab' * 32}")
    removed = run(site, "pin", "remove", "acme")
    assert "open invitations withdrawn: 1" in removed.output
    assert [each["name"] for each in run(site, "cert", "invitations", "--json").json] == ["other"]
    assert enroll(site, partner, token).code == 1
    assert read_allowlist(site.allowlist).find("acme") is None


def test_what_the_removal_of_an_identity_ends_is_on_record(tmp_path):
    made = create_site(tmp_path / "made", "edge.example.com")
    (made.folder / "state").mkdir()  # as a start does
    run(made, "cert", "invite", "first")
    run(made, "pin", "remove", "first")
    trail = (made.folder / "state/audit.jsonl").read_text().splitlines()
    acts = [(each["action"], each["target"]) for each in map(json.loads, trail)]
    assert acts[-2:] == [("cert.invite.withdraw", "first"), ("pin.remove", "first")]


def test_a_pin_that_is_removed_ends_no_invitation(site):
    invite(site)
    pins = [f"spki:sha256:{each * 32}" for each in ("ab", "cd")]
    run(site, "pin", "add", "acme", "--pin", pins[0], "--pin", pins[1])
    assert run(site, "pin", "remove", "acme", "--pin", pins[0], "--json").json["withdrawn"] == 0
    assert len(run(site, "cert", "invitations", "--json").json) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a b"], "cannot name an identity"),
        (["acme", "--senders", "nonsense"], "--senders"),
        (["acme", "--networks", "nonsense"], "--networks"),
    ],
)
def test_what_could_not_become_an_identity_is_not_invited(site, options, words):
    outcome = run(site, "cert", "invite", *options)
    assert outcome.code == 2
    assert words in outcome.errors
    assert not (site.ca.folder / "invitations.jsonl").exists()


def test_who_is_known_already_is_not_changed_by_an_invitation(site):
    add_identity(site.allowlist, {"name": "acme", "pins": [f"spki:sha256:{'ab' * 32}"]})
    assert run(site, "cert", "invite", "acme", "--senders", "@evil.example").code == 2
    assert invite(site)["creates_identity"] is False


def test_without_a_ca_nobody_is_invited(tmp_path):
    outcome = gatepost("cert", "invite", "acme", "--config", tmp_path / "gatepost.toml")
    assert outcome.code == 2
    assert "there is no CA here" in outcome.errors


# --- enroll --------------------------------------------------------------------------------------


def test_a_partner_gets_its_certificate_its_key_and_our_root(site, partner):
    told = invite(site, "--senders", "@acme.example", "--dns", "mail.acme.example", "--days", "7")
    outcome = enroll(site, partner, told["token"], "--root-sha256", told["root_sha256"])
    assert outcome.code == 0, outcome.errors
    got, issuing = parse_pem_chain((partner / "acme.pem").read_bytes())
    assert got.names == ("dns:mail.acme.example",)
    assert issuing == site.ca.issuing_certificate()
    key = load_pem_private_key((partner / "acme.key").read_bytes(), None)
    assert key.public_key() == got.public_key
    assert (partner / "acme.key").stat().st_mode & 0o777 == 0o600
    (root,) = parse_pem_chain((partner / "gatepost-root.pem").read_bytes())
    assert root == site.ca.certificate()
    assert "PRIVATE" not in outcome.output
    identity = read_allowlist(site.allowlist).find("acme")
    assert identity.pins == (f"spki:sha256:{got.spki_sha256}",)


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_token_need_not_stand_on_the_command_line(site, partner, way, monkeypatch):
    token = invite(site)["token"]
    options = ["--url", site.url, "--ca", site.ca.certificate_path, "--out", partner]
    if way == "file":
        (partner / "token").write_text(token + "\n")
        options += ["--token-file", partner / "token"]
    else:
        monkeypatch.setenv("GATEPOST_EST_TOKEN", token)
    outcome = gatepost("cert", "enroll", "acme", *options)
    assert outcome.code == 0, outcome.errors


def test_an_answer_that_was_lost_is_asked_for_again(site, partner):
    token = invite(site)["token"]
    assert enroll(site, partner, token).code == 0
    first = leaf(partner)
    (partner / "acme.pem").unlink()
    assert enroll(site, partner, token).code == 0
    assert leaf(partner) == first


def test_a_server_with_another_root_is_not_told_the_token(site, partner):
    told = invite(site)
    outcome = enroll(site, partner, told["token"], "--root-sha256", "ab" * 32)
    assert outcome.code == 2
    assert "the server's root is another than the one you were told; " in outcome.errors
    assert len(run(site, "cert", "invitations", "--json").json) == 1
    assert not (partner / "acme.key").exists()


def test_a_server_that_is_not_known_is_not_told_the_token(site, partner):
    (partner / "other.pem").write_bytes(Authority("Elsewhere").pem)
    outcome = enroll(site, partner, invite(site)["token"], "--ca", partner / "other.pem")
    assert outcome.code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.errors
    assert not (partner / "acme.key").exists()


def test_a_server_by_another_name_is_not_told_the_token(site, partner):
    url = site.url.replace("localhost", "127.0.0.1")
    told = invite(site)
    outcome = gatepost(
        "cert", "enroll", "acme", "--url", url, "--token", told["token"],
        "--root-sha256", told["root_sha256"], "--out", partner,
    )  # fmt: skip
    assert outcome.code == 1
    assert not (partner / "acme.pem").exists()


def test_a_refusal_is_one_line(site, partner):
    outcome = enroll(site, partner, "wrong")
    assert (outcome.code, outcome.errors.count("\n")) == (1, 1)
    assert "401: no such invitation" in outcome.errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--url": "http://localhost:1"}, "no address of an EST server"),
        ({"--url": "localhost"}, "no address of an EST server"),
        ({"--url": "https://localhost:99999"}, "no address of an EST server"),
        ({"--url": "https://localhost/est"}, "no address of an EST server"),
        ({"--token": ""}, "there is no token"),
        ({"--ca": "nowhere.pem"}, "no CA certificate can be read"),
        ({"--ca": os.devnull}, "no CA certificate can be read"),
        ({"--ca": "x.pem", "--root-sha256": "ab"}, "give one of the two"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(partner, change, words):
    options = {"--url": "https://localhost:1", "--token": "t", "--out": partner} | change
    words_given = [word for pair in options.items() for word in pair]
    outcome = gatepost("cert", "enroll", "acme", *words_given)
    assert outcome.code == 2, outcome
    assert words in outcome.errors
    assert outcome.errors.count("\n") == 1
    assert "; " in outcome.errors


def test_nothing_is_written_over(site, partner):
    (partner / "acme.pem").write_text("mine")
    assert enroll(site, partner, invite(site)["token"]).code == 2
    assert (partner / "acme.pem").read_text() == "mine"


def test_the_root_of_another_ca_is_not_mixed_up_with_ours(site, partner):
    (partner / "gatepost-root.pem").write_bytes(Authority("Elsewhere").pem)
    outcome = enroll(site, partner, invite(site)["token"])
    assert outcome.code == 2
    assert "the root of another CA is here" in outcome.errors


def test_a_server_that_is_down_is_one_line(partner):
    outcome = gatepost(
        "cert", "enroll", "acme", "--url", "https://localhost:1", "--token", "t", "--out", partner
    )
    assert (outcome.code, outcome.errors.count("\n")) == (1, 1)


# --- renew ---------------------------------------------------------------------------------------


def renew(site, partner, *options):
    return gatepost("cert", "renew", partner / "acme.pem", "--est", site.url, *options)


@pytest.fixture
def enrolled(site, partner):
    token = invite(site, "--dns", "mail.acme.example")["token"]
    assert enroll(site, partner, token).code == 0
    return partner


def pins(site):
    return read_allowlist(site.allowlist).find("acme").pins


def test_a_partner_renews_with_what_it_has(site, enrolled):
    old = leaf(enrolled)
    marker = enrolled / "hook-ran"
    script = f"{sys.executable} -c \"open('{marker}','w')\""
    outcome = renew(site, enrolled, "--json", "--exec", script)
    assert outcome.code == 0, outcome.errors
    new = leaf(enrolled)
    assert (new.names, new.subject) == (old.names, old.subject)
    assert new.spki_sha256 != old.spki_sha256
    assert pins(site) == (f"spki:sha256:{old.spki_sha256}", f"spki:sha256:{new.spki_sha256}")
    assert json.loads(outcome.output.splitlines()[-1])["serial"] == new.serial  # behind the log
    assert marker.exists()
    context = ssl.create_default_context(cafile=site.ca.certificate_path)
    context.load_cert_chain(enrolled / "acme.pem", enrolled / "acme.key")
    assert renew(site, enrolled).code == 0


def test_a_key_may_be_kept(site, enrolled):
    old = leaf(enrolled)
    assert renew(site, enrolled, "--reuse-key").code == 0
    assert leaf(enrolled).serial != old.serial
    assert pins(site) == (f"spki:sha256:{old.spki_sha256}",)


def test_a_renewal_that_is_refused_changes_nothing(site, enrolled):
    assert run(site, "cert", "revoke", "acme").code == 0
    before = {path: path.read_bytes() for path in enrolled.iterdir()}
    outcome = renew(site, enrolled)
    assert (outcome.code, outcome.errors.count("\n")) == (1, 1)
    assert "403: the certificate is revoked" in outcome.errors
    assert {path: path.read_bytes() for path in enrolled.iterdir()} == before


def test_how_long_it_holds_is_the_servers_to_say(site, enrolled):
    outcome = renew(site, enrolled, "--days", "3")
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)


def test_a_key_that_does_not_belong_to_it_is_a_mistake(site, enrolled):
    (enrolled / "acme.key").write_bytes(encode_private_key(make_key()))
    outcome = renew(site, enrolled)
    assert (outcome.code, outcome.errors.count("\n")) == (2, 1)
    assert "no certificate with its key" in outcome.errors
