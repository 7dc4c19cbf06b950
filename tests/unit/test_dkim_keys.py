"""Private keys that sign: what is read, and which files are refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay import dkim_keys
from relay.dkim_keys import load_keyring, read_signing_key
from relay.errors import ConfigurationError
from relay.settings.mailauth import Dkim, DkimKey
from tests.kit.dkim import ed25519_key, rsa_key, short_rsa_key


def write(path, key, mode=0o600):
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


def settings(path, **values):
    return DkimKey.model_validate({"domain": "example.org", "selector": "s1", "key": path} | values)


@pytest.mark.parametrize("key", [rsa_key(), rsa_key(1024), ed25519_key()])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_keys_that_sign(tmp_path, key, mode):
    found = read_signing_key(settings(write(tmp_path / "key.pem", key, mode)))
    assert (found.domain, found.selector) == ("example.org", "s1")
    assert found.key.public_key() == key.public_key()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o660])
def test_a_key_that_others_can_read_or_change_is_refused(tmp_path, mode):
    with pytest.raises(ConfigurationError, match=rf"open to other users \(mode {mode:04o}\)"):
        read_signing_key(settings(write(tmp_path / "key.pem", rsa_key(), mode)))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (short_rsa_key(), "768 bits"),
        (ec.generate_private_key(ec.SECP256R1()), "kind that DKIM does not know"),
    ],
)
def test_keys_that_nobody_would_believe(tmp_path, key, problem):
    with pytest.raises(ConfigurationError, match=problem):
        read_signing_key(settings(write(tmp_path / "key.pem", key)))


def test_a_key_that_verifiers_need_not_take(tmp_path, monkeypatch):
    monkeypatch.setattr(dkim_keys, "MAX_RSA_BITS", 2000)  # to make one of 4097 takes seconds
    with pytest.raises(ConfigurationError, match="2048 bits, which others do not take"):
        read_signing_key(settings(write(tmp_path / "key.pem", rsa_key())))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="is not there"):
        read_signing_key(settings(tmp_path / "key.pem"))


def test_what_is_no_key(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("nothing")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="no PEM private key"):
        read_signing_key(settings(path))


def test_domains_are_spelled_as_in_the_dns(tmp_path):
    path = write(tmp_path / "key.pem", ed25519.Ed25519PrivateKey.generate())
    assert (
        read_signing_key(settings(path, domain="BÜCHER.example")).domain == "xn--bcher-kva.example"
    )


def test_keys_sign_between_their_publication_and_their_retirement(tmp_path):
    path = write(tmp_path / "key.pem", ed25519_key())
    keys = [settings(path, selector=state, state=state) for state in ("retired", "active", "next")]
    asked = []

    def attempt(position, key):
        asked.append(position)
        return read_signing_key(key)

    keyring = load_keyring(Dkim(key=tuple(keys)), attempt)
    assert [key.selector for key in keyring.authors["example.org"]] == ["active"]
    assert asked == [0, 1, 2]  # a mistake in the next one is better found today
    assert keyring.lifetime is None


def test_keys_with_mistakes_are_left_out():
    keyring = load_keyring(Dkim(key=(settings("gone.pem"),)), lambda *_: None)
    assert keyring.authors == {}
