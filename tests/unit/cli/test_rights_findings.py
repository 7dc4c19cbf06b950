"""`gatepost check` says what the relay's user cannot read or write, before partners do."""

import os
import tempfile
from pathlib import Path

import pytest

from relay.cli.new_site import create_site
from relay.cli.rights_findings import find_withheld
from relay.config import load

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ENROLS = """
[est]
address = "127.0.0.1:8443"
certificate = { chain = "tls/edge.pem", key = "tls/edge.key" }
"""
PUBLISHES = '\n[ca]\naddress = "127.0.0.1:8080"\n'


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        Path(made).chmod(0o755)
        yield create_site(Path(made) / "site", "edge.example.com")


def problems(site, tables="", user="nobody"):
    path = site.configuration
    if tables:
        text = path.read_text().replace("hostname =", f'user = "{user}"\nhostname =')
        path.write_text(text + tables)
    found = list(find_withheld(load(path, {})))
    assert all(each.remedy and each.level == "error" for each in found)
    return [each.problem.replace(f"{site.folder}/", "") for each in found]


def give(path, mode):
    path.chmod(mode)
    if path.is_dir():
        for each in path.iterdir():
            give(each, 0o755 if each.is_dir() else 0o644)


def test_what_is_needed_for_enrolment_is_named(site):
    give(site.folder, 0o755)
    for name in ("root.pem", "root.key", "issuing.key"):
        (site.folder / "ca" / name).chmod(0o600)
    ca, allowlist = problems(site, ENROLS)
    needed = "ca/issued.jsonl, ca/root.pem, ca, ca/issuing.key"  # the root signs no leaves
    assert ca == f'the user "nobody" cannot use what our CA needs: {needed}'
    assert allowlist == f'the user "nobody" cannot enter who enrols: {site.folder}'


def test_who_only_publishes_needs_neither_the_key_nor_to_write(site):
    give(site.folder, 0o755)
    (site.folder / "ca/issuing.key").chmod(0o600)
    assert problems(site, PUBLISHES) == []
    (site.folder / "ca/issued.jsonl").chmod(0o600)
    assert problems(site) == ['the user "nobody" cannot use what our CA needs: ca/issued.jsonl']


def test_all_is_well_where_the_files_are_the_users_own(site):
    for path in (site.folder, *site.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    assert problems(site, ENROLS + PUBLISHES) == []


@pytest.mark.parametrize(("tables", "user"), [("\n[est]\n", "nobody"), (ENROLS, "")])
def test_nothing_is_said_where_nobody_enrols_or_nobody_else_works(site, tables, user):
    site.folder.chmod(0o700)
    assert problems(site, tables, user) == []
