"""What `gatepost check` says of policy files that compile: a limit that no rule asks for counts nothing."""

import pytest

from tests.kit.command_line import gatepost

LIMIT = '[[limit]]\nname = "strangers"\ncount = "{count}"\nkey = ["{key}"]\nrate = ["200/1d"]\n'
RULE = """
[[rule]]
name = "asks"
at = "{at}"
when = '{when}'
then = "{then}"
reply = "451 4.7.1 Later"
"""


def use(site, text, name="own.toml", identity=""):
    """Put a policy file over the defaults, of the listener or of the identity alone."""
    (site.folder / name).write_text(text)
    if identity:
        place, line = site.allowlist, f'name = "{identity}"\n'
        place.write_text(place.read_text().replace(line, f'{line}policy = ["{name}"]\n'))
    else:
        text = site.configuration.read_text()
        line = f'[[listener]]\npolicy = ["defaults", "{name}"]\n'
        site.configuration.write_text(text.replace("[[listener]]\n", line, 1))


def found(site):
    outcome = gatepost("check", "--json", "--config", site.configuration)
    assert outcome.code == 1
    return [each for each in outcome.json if "counts nothing" in each["problem"]]


@pytest.mark.parametrize(
    ("count", "key", "at", "fact"),
    [
        ("messages", "identity.name", "sender", "rate.exceeded"),
        ("handshakes", "tls.ja4", "hello", "rate.hello_exceeded"),
        ("rejected_commands", "tls.ja4", "hello", "rate.hello_exceeded"),
    ],
)
def test_a_limit_that_no_rule_asks_for_is_named(site, count, key, at, fact):
    use(
        site,
        LIMIT.format(count=count, key=key)
        + "\n[[rule]]\nname = 'rate_messages'\nenabled = false\n",
    )
    (finding,) = found(site)
    assert finding["level"] == "warning"
    assert finding["place"] == f"{site.folder}/own.toml:2"
    assert finding["problem"] == f'limit "strangers" counts nothing: no rule asks for {fact}'
    assert f'at = "{at}" and when = "{fact}"' in finding["remedy"]


@pytest.mark.parametrize(
    ("when", "then"),
    [
        ("rate.hello_exceeded", "defer"),
        ('rate.hello_limit == "strangers"', "defer"),
        ("rate.hello_retry_after > 60", "defer"),
    ],
)
def test_one_that_a_rule_asks_for_is_not(site, when, then):
    limit = LIMIT.format(count="handshakes", key="tls.ja4")
    use(site, limit + RULE.format(at="hello", when=when, then=then))
    assert found(site) == []


@pytest.mark.parametrize("count", ["messages", "recipients", "new_recipients", "bytes"])
def test_those_of_the_defaults_ask_for_what_is_counted_on_the_mail_path(site, count):
    use(site, LIMIT.format(count=count, key="identity.name"))
    assert found(site) == []


def test_a_limit_of_the_defaults_is_not_named(site):
    use(site, '[[rule]]\nname = "rate_connections"\nenabled = false\n')
    assert found(site) == []


def test_one_that_the_operator_has_changed_is_his(site):
    off = '[[rule]]\nname = "rate_connections"\nenabled = false\n'
    use(site, f'{off}[[limit]]\nname = "network_connections"\nrate = ["60/1m"]\n')
    (finding,) = found(site)
    assert finding["place"] == f"{site.folder}/own.toml:5"
    assert "no rule asks for rate.connect_exceeded" in finding["problem"]


def test_the_rule_may_stand_in_the_file_of_an_identity(site):
    use(site, LIMIT.format(count="handshakes", key="tls.ja4"))
    assert len(found(site)) == 1
    use(site, RULE.format(at="hello", when="rate.hello_exceeded", then="defer"), "a.toml", "first")
    assert found(site) == []
