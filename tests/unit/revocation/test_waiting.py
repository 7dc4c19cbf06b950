"""How long keepers wait: the nearer the end, the more often; the more failures, the longer."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.revocation.waiting import next_look, next_try
from relay.settings.revocation import Revocation

NOW = datetime(2027, 1, 1, tzinfo=UTC)
SETTINGS = Revocation(refresh="1h", retry="10s")


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (timedelta(days=7), 3600),
        (timedelta(hours=1), 1800),
        (timedelta(seconds=4), 10),
        (timedelta(days=-1), 10),
    ],
)
def test_half_of_what_is_left_within_retry_and_refresh(left, seconds):
    assert next_look(NOW, NOW + left, SETTINGS, 1) == seconds


def test_a_refresh_shorter_than_retry_has_the_last_word():
    settings = Revocation(refresh="2s", retry="10s")
    assert next_look(NOW, NOW, settings, 1) == 2


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 10), (1, 20), (5, 320), (9, 3600), (10**6, 3600)]
)
def test_each_failure_doubles_the_wait_up_to_refresh(failures, seconds):
    assert next_try(failures, SETTINGS, 1) == seconds


def test_chance_brings_it_forward_by_a_fifth_at_most():
    assert next_look(NOW, NOW + timedelta(days=7), SETTINGS, 0) == pytest.approx(2880)
    assert next_try(0, SETTINGS, 0) == pytest.approx(8)
