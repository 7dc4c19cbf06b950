"""What is passed between processes: keys, addresses, news as JSON."""

import json
from types import SimpleNamespace

from relay.pki.revocation import Outcome
from relay.revocation.ocsp_news import News, OcspUrls, key_of
from tests.kit.ocsp_server import access_to
from tests.kit.pki import Authority

CA, NAMESAKE, OTHER = Authority("CA"), Authority("CA"), Authority("Other")
LEAF = CA.issue("leaf", extensions=[access_to("http://stated.example")]).certificates[0]
PLAIN = CA.issue("plain").certificates[0]


def configured(*urls, authority=CA):
    return [((authority.certificate,), SimpleNamespace(ocsp_urls=urls))]


def test_a_key_names_the_ca_by_name_and_key_and_the_number():
    keys = {
        key_of(LEAF, CA.certificate),
        key_of(PLAIN, CA.certificate),
        key_of(LEAF, NAMESAKE.certificate),
        key_of(LEAF, OTHER.certificate),
    }
    assert len(keys) == 4
    assert key_of(LEAF, CA.certificate) in keys


def test_a_certificate_says_where_to_ask():
    assert OcspUrls().about(LEAF, CA.certificate) == ("http://stated.example",)
    assert OcspUrls().about(PLAIN, CA.certificate) == ()


def test_the_configuration_goes_first_and_counts_for_its_ca_only():
    urls = OcspUrls(configured("http://a.example", "http://stated.example"))
    assert urls.about(LEAF, CA.certificate) == ("http://a.example", "http://stated.example")
    assert urls.about(PLAIN, CA.certificate) == ("http://a.example", "http://stated.example")
    assert urls.about(PLAIN, NAMESAKE.certificate) == ()


def test_two_tables_of_one_ca_add_up():
    urls = OcspUrls([*configured("http://a.example"), *configured("http://b.example")])
    assert urls.about(PLAIN, CA.certificate) == ("http://a.example", "http://b.example")


def test_news_survive_json():
    news = News("key", Outcome.REVOKED, "it was revoked", 12.5)
    assert News.of(json.loads(json.dumps(news))) == news
