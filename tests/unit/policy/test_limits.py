"""Limits as operators write them: rates read, keys and stages checked, every mistake with its place."""

import pytest

from relay.errors import ConfigurationError
from relay.policy.facts import Stage
from relay.policy.limits import Rate, parse_rate
from tests.kit.policy import engine_of

LIMIT = 'name = "own"\ncount = "messages"\nkey = ["identity.name"]\n'


def limit_of(text):
    engine = engine_of(f"[[limit]]\n{text}")
    ((limit,),) = engine.limits.values()
    return limit


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/1h", Rate(100, 3600)),
        ("1000/1d", Rate(1000, 86_400)),
        ("1/500ms", Rate(1, 0.5)),
        ("50MB/1h30m", Rate(50_000_000, 5400)),
        ("10 / 1m", Rate(10, 60)),
    ],
)
def test_a_rate_is_so_many_in_so_much_time(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/h", "/1h", "100/", "0/1h", "1/0s", "-1/1h", "a/1h", "1/1h/1d", 100, None]
)  # fmt: skip
def test_what_is_no_rate_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match='write it as "100/1h"'):
        parse_rate(text)


@pytest.mark.parametrize(
    ("count", "key", "stage"),
    [
        ("connections", "peer.network", Stage.CONNECT),
        ("messages", "identity.name", Stage.SENDER),
        ("messages", "sender.domain", Stage.SENDER),
        ("recipients", "recipient.domain", Stage.RECIPIENT),
        ("new_recipients", "identity.name", Stage.RECIPIENT),
        ("bytes", "peer.address", Stage.MESSAGE),
        ("handshakes", "peer.network", Stage.CONNECT),
        ("rejected_commands", "peer.network", Stage.CONNECT),
        ("rejected_commands", "identity.name", Stage.HELLO),
        ("handshakes", "tls.ja4", Stage.HELLO),
    ],
)
def test_a_limit_is_asked_for_when_it_is_counted_and_its_key_is_known(count, key, stage):
    limit = limit_of(f'name = "own"\ncount = "{count}"\nkey = ["{key}"]\nrate = ["1/1s"]')
    assert limit.stage is stage


def test_tiers_have_rates_of_their_own():
    limit = limit_of(f'{LIMIT}rate = ["9/1h"]\ntier = {{ new = ["1/1h", "5/1d"], trusted = [] }}')
    assert limit.rates_for("new") == (Rate(1, 3600), Rate(5, 86_400))
    assert limit.rates_for("trusted") == ()
    assert limit.rates_for("verified") == limit.rates_for("unknown") == (Rate(9, 3600),)


MISTAKES = [
    (f"{LIMIT}", 'limit "own": there is no `rate`', '"own"'),
    (f'{LIMIT}rate = ["9"]', "no rate", '["9"]'),
    (f"{LIMIT}rate = 9", "rate", "9"),
    (f'{LIMIT}rate = ["9/1h"]\nrates = 1', "rates", "1"),
    ('name = "own"\ncount = "mails"\nkey = ["identity.name"]\nrate = ["1/1s"]', "mails", '"mails"'),
    ('name = "own"\ncount = "messages"\nkey = []\nrate = ["1/1s"]', "key", "[]"),
    ('name = "own"\ncount = "messages"\nrate = ["1/1s"]', "`key` is missing", "[[limit]]"),
    ('name = "own"\nkey = ["peer.address"]\nrate = ["1/1s"]', "`count` is missing", "[[limit]]"),
    ('count = "messages"\nkey = ["peer.address"]\nrate = ["1/1s"]', "a limit without a name", ""),
    (f'{LIMIT}key2 = 1\nrate = ["1/1s"]', "key2", "1"),
    ('name = "own"\ncount = "messages"\nkey = ["peer.adress"]\nrate = ["1/1s"]', "unknown fact `peer.adress`", '["peer.adress"]'),
    ('name = "own"\ncount = "messages"\nkey = ["recipient.domain"]\nrate = ["1/1s"]', "not known yet when messages are counted, at sender", '["recipient.domain"]'),
    ('name = "own"\ncount = "bytes"\nkey = ["recipient.domain"]\nrate = ["1/1s"]', "is about one recipient, and a message may have several", '["recipient.domain"]'),
    ('name = "own"\ncount = "connections"\nkey = ["identity.name"]\nrate = ["1/1s"]', "not known yet when connections are counted", '["identity.name"]'),
    ('name = "own"\ncount = "messages"\nkey = ["identity.known"]\nrate = ["1/1s"]', "says nothing about who", '["identity.known"]'),
    ('name = "own"\ncount = "messages"\nkey = ["rate.limit"]\nrate = ["1/1s"]', "says nothing about who", '["rate.limit"]'),
    ('name = "own"\ncount = "connections"\nkey = ["peer.address"]\ntier = { new = ["1/1s"] }', "nobody's tier is known yet", '{ new = ["1/1s"] }'),
    (f'{LIMIT}tier = {{ old = ["1/1s"] }}', "old", ""),
    (f'{LIMIT}tier = {{ new = ["one"] }}', "no rate", ""),
    (f'{LIMIT}rate = ["1/1s"]\n[[limit]]\n{LIMIT}rate = ["1/1s"]', 'two limits are named "own"', '"own"'),
    ('name = "own"\nenabled = false', "there is no such limit to switch off", '"own"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem", "place"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistakes_are_told_with_line_and_caret(text, problem, place):
    with pytest.raises(ConfigurationError) as told:
        engine_of.__wrapped__(f"[[limit]]\n{text}")
    assert problem in str(told.value)
    assert told.value.line
    if place:
        shown, caret = told.value.excerpt.splitlines()
        assert shown[caret.index("^") :].startswith(place)
