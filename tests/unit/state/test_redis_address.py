"""Where a Redis is, and what is shown to it."""

import ssl

import pytest

from relay.errors import ConfigurationError
from relay.model import Endpoint
from relay.settings.state import State
from relay.settings.table import CertificateFiles
from relay.state.redis_address import parse_store_url, password_of, tls_context
from tests.kit.pki import Authority


def state(**values):
    return State.model_validate({"kind": "redis", "url": ["rediss://state.internal"], **values})


@pytest.mark.parametrize(
    ("text", "topology", "endpoint", "is_tls"),
    [
        ("redis://state.internal", "standalone", ("state.internal", 6379), False),
        ("redis://state.internal:7000/", "cluster", ("state.internal", 7000), False),
        ("rediss://192.0.2.1:6380", "standalone", ("192.0.2.1", 6380), True),
        ("rediss://[2001:db8::1]", "sentinel", ("2001:db8::1", 26379), True),
    ],
)
def test_addresses(text, topology, endpoint, is_tls):
    assert parse_store_url(text, topology) == (Endpoint(*endpoint), is_tls)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("state.internal:6379", "is no address of a Valkey or Redis; write it as"),
        ("http://state.internal", "is no address of a Valkey or Redis; write it as"),
        ("redis://", "is no address of a Valkey or Redis"),
        ("redis://a/b/c", "is no address of a Valkey or Redis"),
        ("redis://a?b=c", "has something behind the port"),
        ("redis://state.internal:6379/2", "use `database`"),
        ("redis://state.internal:99999", "99999 is no port"),
        ("redis://2001:db8::1", "write it as"),
    ],
)
def test_what_is_none_is_told_with_a_remedy(text, words):
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        parse_store_url(text)


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(ValueError, match="password_file") as caught:
        parse_store_url("redis://:hunter2@state.internal")
    assert "hunter2" not in str(caught.value)


def test_a_password_comes_from_a_file_or_the_settings_and_is_never_shown(tmp_path):
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    assert password_of(state(password_file=path)) == "hunter2"
    given = state(password="hunter2")
    assert password_of(given) == "hunter2"
    assert "hunter2" not in repr(given) + str(given)
    assert password_of(state()) is None


def test_tls_trusts_the_named_ca_and_no_other(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(Authority("Ours").pem)
    context = tls_context(state(ca=path))
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert tls_context(state(url=["redis://state.internal"])) is None


def test_files_that_cannot_be_used_are_named(tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    nowhere = tmp_path / "nowhere"
    chain, key = Authority().issue("us").write(tmp_path, "us")
    _, other_key = Authority().issue("them").write(tmp_path, "them")
    for values, words in (
        ({"ca": nowhere}, "nowhere cannot be read"),
        ({"ca": junk}, "junk.pem is no PEM file"),
        ({"client_certificate": CertificateFiles(chain=nowhere, key=key)}, "cannot be read"),
        ({"client_certificate": CertificateFiles(chain=chain, key=other_key)}, "is no certificate"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            tls_context(state(**values))
    for path in (nowhere, tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            password_of(state(password_file=path))
