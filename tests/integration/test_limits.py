"""Limits through the real binary: as many as a limit says, over all workers, and then when to come again."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import clients
from tests.kit.relay_process import RelayProcess
from tests.kit.site import SENDER

LIMITS = """
[[limit]]
name = "messages"
tier = { verified = ["20/1h"] }

[[limit]]
name = "recipients"
tier = { verified = ["30/1h"] }

[[limit]]
name = "bytes"
count = "bytes"
key = ["identity.name"]
rate = ["20kB/1h"]
"""


@pytest.fixture
def relay(site, upstream, tmp_path):
    (tmp_path / "limits.toml").write_text(LIMITS)
    settings = site.settings(upstream.port, listener={"policy": ["defaults", "limits.toml"]})
    with RelayProcess(tmp_path, settings, site.allowlist()) as running:
        yield running


def send(relay, site, **how):
    return clients.send(relay.port, site.context(site.pinned), **how)


def test_a_limit_of_n_admits_n_over_all_workers(relay, site):
    def answer(_):
        return send(relay, site)

    with ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(answer, range(30)))
    assert sorted(each.code for each in answers) == [250] * 20 + [451] * 10
    refused = next(each for each in answers if each.code == 451)
    told = re.match(r"4\.7\.1 Too much mail \(messages\), try again in (\d+) s", refused.text)
    assert told
    # 20 in an hour: one more each 180 s, and the tests took some of that
    assert 150 <= int(told[1]) <= 180
    record = relay.wait_for_audit(kind="refusal", reference=refused.reference)
    assert record["rule"] == "rate_messages"
    assert record["facts"]["rate.exceeded"] is True
    assert record["facts"]["rate.limit"] == "messages"


def test_recipients_and_bytes_are_counted_each_where_they_come(relay, site):
    many = [f"r{number}@dest.example" for number in range(31)]
    with clients.session(relay.port, site.context(site.pinned)) as smtp:
        smtp.ehlo("client.example")
        assert smtp.mail(SENDER)[0] == 250
        codes = [smtp.rcpt(each)[0] for each in many]
        smtp.rset()
    assert codes == [250] * 30 + [451]
    refused = relay.wait_for_audit(kind="refusal", recipient=many[-1])
    assert refused["rule"] == "rate_recipients"


@pytest.mark.parametrize(
    ("sizes", "codes"),
    [([9_000, 9_000, 9_000], [250, 250, 451]), ([30_000, 9_000], [552, 250])],
    ids=["one after the other", "larger than ever is admitted"],
)
def test_bytes_are_counted_at_the_end_of_a_message(sizes, codes, relay, site):
    answers = [
        send(relay, site, content=clients.MESSAGE + b"0123456789abcdef\r\n" * (size // 18))
        for size in sizes
    ]
    assert [each.code for each in answers] == codes
    last = next(each for each in answers if each.code != 250)
    record = relay.wait_for_audit(kind="refusal", reference=last.reference)
    assert record["rule"] == {451: "rate_bytes", 552: "rate_never"}[last.code]


def test_changed_limits_are_in_force_without_a_restart(relay, site):
    (relay.folder / "limits.toml").write_text(LIMITS.replace('"20/1h"', '"1/1h"'))
    relay.reload()
    assert [send(relay, site).code for _ in range(2)] == [250, 451]
