"""What is kept of the DNS: until its time, within a size, the least used goes first."""

from relay.model import DnsAnswer
from relay.net.dns_cache import AnswerCache, Failure

KEY = ("example.org", "A")
ANSWER = DnsAnswer(("192.0.2.1",))


def test_an_answer_is_kept_until_its_time():
    cache = AnswerCache(10_000)
    cache.put(KEY, ANSWER, until=20.0)
    assert cache.get(KEY, 19.9) == ANSWER
    assert cache.get(KEY, 20.0) is None


def test_types_are_kept_apart():
    cache = AnswerCache(10_000)
    cache.put(KEY, ANSWER, until=20.0)
    assert cache.get(("example.org", "AAAA"), 0.0) is None


def test_a_failure_is_kept_too():
    cache = AnswerCache(10_000)
    cache.put(KEY, Failure("SERVFAIL"), until=20.0)
    assert cache.get(KEY, 0.0) == Failure("SERVFAIL")


def test_a_newer_answer_takes_the_place_of_the_older():
    cache = AnswerCache(10_000)
    cache.put(KEY, DnsAnswer(("192.0.2.1",) * 10), until=20.0)
    large = cache.size_bytes
    cache.put(KEY, ANSWER, until=30.0)
    assert cache.get(KEY, 25.0) == ANSWER
    assert len(cache) == 1
    assert cache.size_bytes < large


def test_the_least_used_goes_first():
    cache = AnswerCache(10_000)
    cache.put(KEY, ANSWER, until=20.0)
    while cache.size_bytes + 600 < 10_000:
        cache.put((f"{cache.size_bytes}.example.org", "A"), ANSWER, until=20.0)
    kept = len(cache)
    assert cache.get(KEY, 0.0)  # used: no longer the oldest
    for number in range(3):
        cache.put((f"new{number}.example.org", "A"), ANSWER, until=20.0)
    assert cache.get(KEY, 0.0)
    assert len(cache) <= kept + 1
    assert cache.size_bytes <= 10_000


def test_no_answer_is_larger_than_the_cache():
    cache = AnswerCache(10_000)
    cache.put(KEY, DnsAnswer(("x" * 20_000,)), until=20.0)
    assert len(cache) == 0
    assert cache.size_bytes == 0
