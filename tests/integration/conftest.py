"""The real binary between real clients and a next hop, each test module with its own pair."""

import pytest

from tests.kit.dns_server import DnsServer, Fault
from tests.kit.relay_process import RelayProcess
from tests.kit.site import Site
from tests.kit.upstream import Upstream


@pytest.fixture(scope="session")
def name_server():
    """A DNS in which there is nothing, and which can't say what the names of clients are."""
    with DnsServer() as running:
        for address in ("1.0.0.127", "1.2.0.192"):
            running.faults[f"{address}.in-addr.arpa"] = (Fault.SERVFAIL,)
        yield running


@pytest.fixture(scope="session")
def site(name_server, tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site"), name_server.address)


@pytest.fixture(scope="module")
def upstream(site):
    with Upstream(*site.mx) as running:
        yield running


@pytest.fixture(scope="module")
def relay(site, upstream, tmp_path_factory):
    """A relay that takes mail from the pinned client to `upstream`; not to be changed by tests."""
    folder = tmp_path_factory.mktemp("relay")
    with RelayProcess(folder, site.settings(upstream.port), site.allowlist()) as running:
        yield running


@pytest.fixture
def start_relay(site, tmp_path):
    """Start a relay of the test's own: `start_relay(*ports, allowlist=..., **tables)`."""
    started = []

    def start(*ports, allowlist=None, **tables):
        folder = tmp_path / f"relay{len(started)}"
        folder.mkdir()
        settings = site.settings(*ports, **tables)
        made = RelayProcess(folder, settings, allowlist or site.allowlist())
        started.append(made)
        return made.start()

    yield start
    for made in started:
        made.stop()


@pytest.fixture
def own_upstream(site):
    """A next hop of the test's own, to be scripted."""
    with Upstream(*site.mx) as running:
        yield running
