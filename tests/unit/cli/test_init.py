"""`gatepost init`: everything that a first run needs, and nothing written over."""

import json
import stat

import pytest
from typer.testing import CliRunner

from relay.cli.main import app
from relay.cli.new_site import create_site
from relay.config import load
from relay.errors import ConfigurationError
from relay.material import load_material


def init(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def material_of(folder):
    return load_material(load(folder / "gatepost.toml", {}))


def test_the_new_folder_loads_as_it_is(tmp_path):
    outcome = init(tmp_path / "site", "--hostname", "edge.example.com")
    assert outcome.exit_code == 0, outcome.output
    material = material_of(tmp_path / "site")
    (listener,) = material.settings.listener
    assert (listener.address, listener.client_certificate) == ("127.0.0.1:2525", "required")
    (pair,) = material.listeners["edge"].key_pairs
    assert set(pair.chain[0].names) == {
        *("dns:edge.example.com", "dns:localhost", "ip:127.0.0.1", "ip:::1"),
    }
    route = material.routes["*"]
    assert material.settings.route["*"].tls == "verify"
    assert [each.subject for each in route.anchors] == ["CN=Gatepost CA of edge.example.com"]
    assert route.key_pair is not None


def test_the_first_client_is_pinned_and_bound_to_its_domain(tmp_path):
    site = create_site(tmp_path, "edge.example.com", client_name="printer")
    (identity,) = material_of(tmp_path).allowlist
    assert identity.name == "printer"
    assert identity.pins == (f"spki:sha256:{site.client.certificate.spki_sha256}",)
    assert identity.senders == ("@example.org",)


def test_private_keys_are_readable_by_their_owner_only(tmp_path):
    site = create_site(tmp_path, "edge.example.com")
    keys = [path for path in site.files if path.suffix == ".key"]
    assert len(keys) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


@pytest.mark.parametrize("name", ["gatepost.toml", "allowlist.toml", "ca", "tls", "clients"])
def test_nothing_is_written_over(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigurationError, match="it is there already") as caught:
        create_site(tmp_path, "edge.example.com")
    assert caught.value.path == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_next_hop_elsewhere_is_verified_by_the_system(tmp_path):
    create_site(tmp_path, "edge.example.com", upstream="mx.example.com:25", listen="[::1]:2525")
    settings = load(tmp_path / "gatepost.toml", {}).settings
    assert settings.route["*"].hosts == ("mx.example.com:25",)
    assert settings.route["*"].ca == ()
    assert settings.listener[0].address == "[::1]:2525"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hostname": "a b"}, '"a b" is no host name'),
        ({"hostname": "192.0.2.1"}, '"192.0.2.1" is no host name'),
        ({"listen": "localhost:25"}, "--listen: 'localhost' does not appear"),
        ({"listen": "127.0.0.1"}, '--listen: "127.0.0.1" names no port'),
        ({"upstream": "mx:smtp"}, '--upstream: "mx:smtp" is no address with a port'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(tmp_path, options, problem):
    with pytest.raises(ConfigurationError) as caught:
        create_site(tmp_path / "site", **{"hostname": "edge.example.com", **options})
    assert str(caught.value).startswith(problem)
    assert caught.value.remedy
    assert not (tmp_path / "site").exists()


def test_it_says_what_it_made_and_what_to_do_next(tmp_path):
    outcome = init(tmp_path, "--hostname", "edge.example.com")
    for part in ("gatepost.toml", "clients/first.key", "gatepost check", "gatepost run"):
        assert part in outcome.output
    assert f"--cert {tmp_path}/clients/first.pem" in outcome.output.replace("\n", "")


def test_the_same_in_json(tmp_path):
    outcome = init(tmp_path, "--json", "--hostname", "edge.example.com")
    value = json.loads(outcome.output)
    assert all(tmp_path.joinpath(path).exists() for path in value["files"])
    assert len(value["next"]) == 3


def test_commands_need_no_option_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = json.loads(init("--json").output)
    assert value["next"][:2] == ["gatepost check", "gatepost run"]
    assert material_of(tmp_path).settings.hostname
