"""Invitations: good once, for one name, until they end; on disk there is no token."""

from datetime import UTC, date, datetime, timedelta

import pytest

from relay.invitations import Invitations
from relay.pki.issuing import Subject

SPKI = "ab" * 32


@pytest.fixture
def invitations(tmp_path):
    return Invitations(tmp_path)


def now():
    return datetime.now(UTC)


def invite(invitations, name="acme", *, hours=1, identity=None):
    return invitations.invite(
        Subject(name, ("dns:a.acme.example",)),
        lifetime=timedelta(days=30),
        valid_for=timedelta(hours=hours),
        identity=identity,
        by="ann",
    )


def test_a_token_brings_what_was_fixed_with_it(invitations):
    values = {"senders": ["@acme.example"], "not_after": date(2030, 1, 31)}
    token = invite(invitations, identity=values)
    found = invitations.find("acme", token, now())
    assert found.subject == Subject("acme", ("dns:a.acme.example",))
    assert (found.lifetime, found.identity, found.by) == (timedelta(days=30), values, "ann")


@pytest.mark.parametrize("name", ["other", "ACME", ""])
def test_a_token_is_for_one_name(invitations, name):
    assert invitations.find(name, invite(invitations), now()) is None


def test_another_token_is_for_nobody(invitations):
    token = invite(invitations)
    for other in ("", token[:-1], token + "x", token.swapcase()):
        assert invitations.find("acme", other, now()) is None


def test_a_token_ends_by_itself(invitations):
    token = invite(invitations, hours=1)
    assert invitations.find("acme", token, now() + timedelta(minutes=59))
    assert invitations.find("acme", token, now() + timedelta(minutes=61)) is None


def test_a_token_serves_one_key(invitations):
    token = invite(invitations)
    found = invitations.find("acme", token, now())
    assert invitations.claim(found, SPKI)
    assert invitations.claim(found, SPKI)  # the answer was lost
    assert not invitations.claim(found, "cd" * 32)
    assert invitations.find("acme", token, now()).spki == SPKI
    assert invitations.open(now()) == []


def test_what_was_withdrawn_is_no_longer_good(invitations):
    token, kept = invite(invitations), invite(invitations, "other")
    found = invitations.find("acme", token, now())
    assert invitations.withdraw("acme", "ann") == 1
    assert invitations.withdraw("acme", "ann") == 0
    assert invitations.find("acme", token, now()) is None
    assert not invitations.claim(found, SPKI)
    assert invitations.find("other", kept, now())


def test_the_file_holds_no_token_and_is_ours_alone(invitations, tmp_path):
    token = invite(invitations)
    path = tmp_path / "invitations.jsonl"
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_token_comes_twice_and_each_has_192_bits(invitations):
    tokens = {invite(invitations) for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) == 32 for token in tokens)
