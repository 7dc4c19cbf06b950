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


def test_the_example_of_an_allowlist_shows_every_kind_of_key():
    _, allowlist = read_allowlist(FOLDER / "allowlist.toml")
    assert {pin.partition(":")[0] for each in allowlist for pin in each.pins} == {"spki", "cert"}
    assert any(each.names for each in allowlist)
    assert all(each.contact and each.senders for each in allowlist)
