"""How much is bought in advance, and when it is void."""

from relay.model import Charge
from relay.policy.prepaid import Account, most_in_advance


def test_a_thousandth_of_the_smallest_limit_and_64_at_most():
    charges = [Charge("a", 1, 5000, 3600.0), Charge("b", 1, 1_000_000, 86400.0)]
    assert most_in_advance(charges) == 5
    assert most_in_advance(charges[1:]) == 64
    assert most_in_advance([Charge("c", 1, 999, 60.0)]) == 0


def orders(*pauses, most=64, used=1024):
    """Order again and again; whoever asks has used so many units by then."""
    account, clock, sizes = Account(), 1000.0, []
    account.order(most, clock)
    account.left = used
    for _ in range(used):
        account.take(clock)
    for pause in pauses:
        clock += pause
        sizes.append(account.order(most, clock))
    return sizes


def test_twice_as_many_as_long_as_they_are_soon_used_up():
    assert orders(*[0.01] * 7) == [2, 4, 8, 16, 32, 64, 64]
    assert orders(*[0.01] * 4, most=5) == [2, 4, 5, 5]


def test_a_sixteenth_of_what_was_used_at_most():
    assert orders(*[0.01] * 4, used=16) == [1, 1, 1, 1]
    assert orders(*[0.01] * 4, used=80) == [2, 4, 5, 5]


def test_fewer_once_they_last():
    assert orders(0.01, 0.01, 0.5, 0.5, 0.5, 0.5) == [2, 4, 2, 1, 1, 1]


def test_one_again_after_a_silence():
    assert orders(0.01, 0.01, 1.1, 0.01) == [2, 4, 1, 1]


def test_one_while_others_are_being_bought():
    account = Account()
    account.is_buying = True
    assert [account.order(64, 1000.0) for _ in range(100)] == [1] * 100


def test_what_is_left_lapses_after_a_second():
    account = Account()
    account.order(64, 1000.0)
    account.left += 3
    assert account.take(1000.9)
    assert not account.take(1001.1)
    account.order(64, 1001.1)
    assert account.left == 0
