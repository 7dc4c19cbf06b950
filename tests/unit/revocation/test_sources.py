"""Sources on disk: what is kept comes back, what nobody wants any more is forgotten."""

from datetime import date, timedelta

import pytest

from relay.revocation.sources import Source, read_sources, write_sources
from tests.kit.pki import Authority

CA = Authority("CA").certificate
TODAY = date(2026, 11, 21)


def test_what_is_kept_comes_back(tmp_path):
    sources = [
        Source(
            "http://ca.example/1", [CA], wanted=TODAY, file_name="f", etag='"1"', modified="now"
        ),
        Source("http://ca.example/2", [CA]),
    ]
    write_sources(tmp_path / "sources.json", sources)
    assert read_sources(tmp_path / "sources.json", TODAY) == sources


def test_what_nobody_has_wanted_for_a_month_is_forgotten(tmp_path):
    path = tmp_path / "sources.json"
    write_sources(path, [Source("http://ca.example/1", [CA], wanted=TODAY)])
    assert read_sources(path, TODAY + timedelta(days=29))
    assert not read_sources(path, TODAY + timedelta(days=30))


@pytest.mark.parametrize("text", ["", "{", "{}x", "[1]", '[{"url": "u"}]', "null"])
def test_a_damaged_file_is_no_source(tmp_path, text):
    (tmp_path / "sources.json").write_text(text)
    assert read_sources(tmp_path / "sources.json", TODAY) == []


def test_a_ca_is_expected_once_and_not_without_end():
    source = Source("http://ca.example/1", [])
    for _ in range(2):
        source.add_issuer(CA)
    assert source.issuers == [CA]
    for number in range(20):
        source.add_issuer(Authority(f"CA {number}").certificate)
    assert len(source.issuers) == 8
