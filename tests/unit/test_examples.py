"""Every example loads: the configuration alone, and with the files that it names."""

import shutil
from pathlib import Path

import pytest

from relay.config import load
from relay.material import load_material, read_allowlist
from tests.kit.pki import Authority

FOLDER = Path(__file__).parents[2] / "examples"
CONFIGURATIONS = sorted(
    path.name for path in FOLDER.glob("*.toml") if path.name != "allowlist.toml"
)


def make_named_files(settings):
    """Make the certificates, keys and CAs that a configuration names."""
    authority = Authority("Example CA")
    routes = settings.route.values()
    pairs = [pair for listener in settings.listener for pair in listener.certificate]
    pairs += [route.client_certificate for route in routes if route.client_certificate]
    cas = [path for listener in settings.listener for path in listener.client_ca]
    cas += [path for route in routes for path in route.ca]
    for path in cas:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(authority.pem)
    for pair in pairs:
        pair.chain.parent.mkdir(exist_ok=True)
        issued = authority.issue(
            settings.hostname, dns=(settings.hostname,), usages=("server", "client")
        )
        pair.chain.write_bytes(issued.chain_pem)
        pair.key.write_bytes(issued.key_pem)


def test_all_three_uses_have_an_example():
    assert CONFIGURATIONS == ["internal.toml", "partner-edge.toml", "public-edge.toml"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_example_is_a_configuration_that_could_start(name, tmp_path, monkeypatch):
    store = tmp_path / "store.pem"
    store.write_bytes(Authority("Public CA").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    for each in (name, "allowlist.toml"):
        shutil.copy(FOLDER / each, tmp_path)
    configuration = load(tmp_path / name, {})
    make_named_files(configuration.settings)
    material = load_material(configuration)
    assert set(material.routes) == set(configuration.settings.route)
    assert len(material.allowlist) == 3


@pytest.mark.parametrize("node", ["edge-1", "edge-2"])
def test_each_node_of_the_fleet_could_start(node, tmp_path):
    (tmp_path / "conf.d").mkdir()
    for source, target in (
        (f"fleet/{node}.toml", "gatepost.toml"),
        ("fleet/fleet.toml", "conf.d/fleet.toml"),
        ("fleet/policy.toml", "policy.toml"),
        ("allowlist.toml", "allowlist.toml"),
    ):
        shutil.copy(FOLDER / source, tmp_path / target)
    (tmp_path / "state-password").write_text("change-me\n")
    configuration = load(tmp_path / "gatepost.toml", {})
    make_named_files(configuration.settings)
    material = load_material(configuration)
    assert configuration.settings.hostname == f"{node}.example.org"
    assert set(material.routes) == {"example.org"}
    assert configuration.settings.state.password_file.read_text() == "change-me\n"


def test_the_nodes_of_the_fleet_differ_by_their_names_and_addresses_only():
    one, other = ((FOLDER / f"fleet/edge-{node}.toml").read_text() for node in (1, 2))
    same = other.replace("edge-2", "edge-1").replace("10.0.0.12", "10.0.0.11")
    assert one == same.replace("Node 2", "Node 1")


def test_the_example_of_an_allowlist_shows_every_kind_of_key():
    _, allowlist = read_allowlist(FOLDER / "allowlist.toml")
    assert {pin.partition(":")[0] for each in allowlist for pin in each.pins} == {"spki", "cert"}
    assert any(each.names for each in allowlist)
    assert all(each.contact and each.senders for each in allowlist)
