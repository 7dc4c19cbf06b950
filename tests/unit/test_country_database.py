"""Countries out of a database file, and files that are none."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import pytest

from relay.country_database import open_country_database
from relay.errors import ConfigurationError, Unavailable
from tests.kit.country_database import country_database

RECORDS = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}},
    "198.51.100.0/25": {"registered_country": {"iso_code": "FR"}},
    "203.0.113.0/24": {"country_code": "nl"},
    "2001:db8::/32": {"country": "SE"},
    "2001:db9::/32": {"continent": {"code": "EU"}},
    "2001:dba::/32": "no record of a country",
}


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("192.0.2.7", "DE"),
        ("198.51.100.1", "FR"),
        ("198.51.100.200", ""),
        ("203.0.113.9", "NL"),
        ("2001:db8::1", "SE"),
        ("2001:db9::1", ""),
        ("2001:dba::1", ""),
        ("127.0.0.1", ""),
    ],
)
def test_countries(address, code, tmp_path):
    path = tmp_path / "country.mmdb"
    path.write_bytes(country_database(RECORDS))
    assert open_country_database(path)(ip_address(address)) == code


def test_the_file_may_go_once_it_is_read(tmp_path):
    path = tmp_path / "country.mmdb"
    path.write_bytes(country_database(RECORDS))
    country_of = open_country_database(path)
    path.write_bytes(b"")
    assert country_of(ip_address("192.0.2.7")) == "DE"


@pytest.mark.parametrize("content", [None, b"", b"not a database", country_database(RECORDS)[:-40]])
def test_what_is_no_database_is_a_mistake(content, tmp_path):
    path = tmp_path / "country.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="can't be read as a country database"):
        open_country_database(path)


def test_a_damaged_database_says_nothing(tmp_path):
    path = tmp_path / "country.mmdb"
    whole = country_database({"192.0.2.0/24": {"country": {"iso_code": "DE"}}})
    start = whole.index(b"\0" * 16) + 16
    path.write_bytes(whole[:start] + b"\xff" * 20 + whole[start + 20 :])
    with pytest.raises(Unavailable, match="country database"):
        open_country_database(path)(ip_address("192.0.2.7"))


def test_without_the_package_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ConfigurationError) as caught:
        open_country_database(tmp_path / "country.mmdb")
    assert 'pip install "gatepost[country]"' in str(caught.value)
