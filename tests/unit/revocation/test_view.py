"""What a worker sees: the lists of the folder, when they end, and what it wants fetched."""

from datetime import timedelta
from pathlib import Path

import pytest

from relay.pki.revocation import Outcome
from relay.revocation.folder import CrlFolder
from relay.revocation.intake import take_crls
from relay.revocation.view import CrlView
from relay.settings.revocation import RevocationAuthority
from tests.kit.crl_server import CrlServer
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl

CA = Authority("CA")
GRACE = timedelta(hours=1)
URL = "http://ca.example/list.crl"


def leaf(extensions=()):
    return CA.issue("client", extensions=extensions).certificates[0]


def lists(path, *revoked, **options):
    folder = CrlFolder(path)
    take_crls(make_crl(CA, revoked, **options), [CA.certificate], folder, NOW)
    return folder.read()


def test_it_answers_from_the_lists_in_force(tmp_path):
    client = leaf()
    view = CrlView(GRACE)
    assert view.status(client, CA.certificate, NOW).outcome is Outcome.NO_SOURCE
    assert view.replace(lists(tmp_path))
    assert view.status(client, CA.certificate, NOW).outcome is Outcome.GOOD
    assert view.replace(lists(tmp_path, int(client.serial, 16), number=2))
    assert view.status(client, CA.certificate, NOW).outcome is Outcome.REVOKED


@pytest.mark.parametrize(
    ("keys", "place"),
    [({"crl_urls": (URL,)}, URL), ({"crl_files": (Path("/ca.crl"),)}, "/ca.crl")],
)
def test_a_list_that_the_configuration_names_is_unreachable_until_it_is_there(
    tmp_path, keys, place
):
    authority = RevocationAuthority(certificate=Path("/ca.pem"), **keys)
    view = CrlView(GRACE, configured=[([CA.certificate], authority)])
    found = view.status(leaf(), CA.certificate, NOW)
    assert (found.outcome, found.reason) == (
        Outcome.UNREACHABLE,
        f"the CRL at {place} has not been fetched",
    )
    other = Authority("Other")
    about_other = other.issue("client").certificates[0]
    assert view.status(about_other, other.certificate, NOW).outcome is Outcome.NO_SOURCE
    view.replace(lists(tmp_path))
    assert view.status(leaf(), CA.certificate, NOW).outcome is Outcome.GOOD


def test_a_list_counts_until_its_grace_is_over_and_that_is_a_turn(tmp_path):
    view = CrlView(GRACE)
    view.replace(lists(tmp_path, until=NOW + timedelta(hours=1)))
    end = NOW + timedelta(hours=2)
    assert view.turns() == [end.timestamp()]
    before, after = (
        view.status(leaf(), CA.certificate, end + timedelta(seconds=each)).outcome
        for each in (0, 1)
    )
    assert (before, after) == (Outcome.GOOD, Outcome.STALE)


def test_the_same_lists_are_no_change(tmp_path):
    folder = CrlFolder(tmp_path)
    lists(tmp_path)
    view = CrlView(GRACE)
    assert view.replace(folder.read())
    assert not view.replace(folder.read())


def test_what_a_certificate_names_is_wanted_once_a_day():
    wanted = []
    view = CrlView(GRACE, lambda urls, deltas, issuer: wanted.append((urls, deltas, issuer)))
    with CrlServer() as server:
        client, url = leaf([server.extension]), server.url
    for day in (0, 0, 1):
        view.status(client, CA.certificate, NOW + timedelta(days=day))
    assert wanted == [((url,), (), CA.certificate)] * 2


def test_a_certificate_that_names_nothing_wants_nothing():
    wanted = []
    view = CrlView(GRACE, lambda *each: wanted.append(each))
    view.status(leaf(), CA.certificate, NOW)
    assert wanted == []
