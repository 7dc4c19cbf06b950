"""Wrong secrets are listened to a few times a minute."""

from relay.admin.attempts import MAX_ADDRESSES, Attempts


def test_after_some_wrong_ones_an_address_has_to_wait():
    attempts = Attempts(3, 60)
    for _ in range(3):
        assert not attempts.is_blocked("192.0.2.1", 600)
        attempts.failed("192.0.2.1", 600)
    assert attempts.is_blocked("192.0.2.1", 659)
    assert not attempts.is_blocked("192.0.2.2", 659)
    assert not attempts.is_blocked("192.0.2.1", 660)


def test_a_client_has_a_whole_ipv6_network():
    attempts = Attempts(1, 60)
    attempts.failed("2001:db8:0:1::1", 0)
    assert attempts.is_blocked("2001:db8:0:1:ffff::2", 0)
    assert not attempts.is_blocked("2001:db8:0:2::1", 0)


def test_an_address_is_the_same_wrapped_in_ipv6():
    attempts = Attempts(1, 60)
    attempts.failed("::ffff:192.0.2.1", 0)
    assert attempts.is_blocked("192.0.2.1", 0)


def test_memory_is_bounded_and_then_nobody_new_may_try():
    attempts = Attempts(5, 60)
    for number in range(MAX_ADDRESSES + 10):
        attempts.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert attempts.is_blocked("192.0.2.1", 0)
    assert not attempts.is_blocked("10.0.0.1", 0)
    assert not attempts.is_blocked("192.0.2.1", 60)


def test_it_says_when_to_come_again():
    assert Attempts(1, 60).seconds_left(630) == 31
