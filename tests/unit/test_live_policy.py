"""The policy in force: which rules for whom, and whom no rule may ban."""

from datetime import timedelta
from ipaddress import ip_address
from random import Random

import pytest

from relay import catalogue
from relay.checks import rate
from relay.checks.identity import IdentityCheck
from relay.checks.rate import RateCheck
from relay.errors import Unavailable
from relay.live_policy import LivePolicies, make_consequences, make_panel
from relay.model import Endpoint, Identity, Restriction, RestrictionKind, Tier
from relay.policy.case import Case
from relay.policy.facts import Facts, FactType, Stage
from relay.policy.restrictions import Restrictions
from relay.policy_files import load_policies
from relay.settings import Settings
from relay.state.memory import MemoryStore
from tests.kit.checks import tools
from tests.kit.services import FakeClock

VALUES = {
    FactType.BOOL: [True, False],
    FactType.INT: [-1, 0, 1, 1_000_000],
    FactType.DOUBLE: [-100.0, 0.0, 1.5],
    FactType.STRING: ["", "x", "fail", "pass", "temperror", "permerror", "reject", "quarantine"],
    FactType.STRINGS: [(), ("too_deep",), ("a", "b")],
}
FILES = {"own.toml": "", "new.toml": "", "x.toml": ""}
OWN = Identity("own", policy=("own.toml",))
NEW = Identity("new", policy=("new.toml",))


def policies(*additions):
    return load_policies({"partners": ("x.toml",)}, FILES.__getitem__, additions)


def test_an_identity_has_its_own_rules():
    live = LivePolicies(policies(OWN.policy))
    nobody, somebody = live.engine("partners", None), live.engine("partners", OWN)
    assert live.engine("partners", Identity("plain")).rules is nobody.rules
    assert somebody.rules is not nobody.rules


def test_rules_that_are_not_there_yet_are_never_passed_over():
    with pytest.raises(Unavailable):
        LivePolicies(policies()).engine("partners", OWN)


def test_rules_stay_until_the_allowlist_that_named_them_has_gone_too():
    live = LivePolicies(policies(OWN.policy))
    before = live.engine("partners", OWN)
    live.replace(policies(NEW.policy))
    assert live.engine("partners", NEW)
    assert live.engine("partners", OWN).rules is before.rules


def test_the_rules_for_a_tier_are_narrowed_to_it_once():
    live = LivePolicies(policies())
    acme, globex = (Identity(name, tier=Tier.VERIFIED) for name in ("acme", "globex"))
    assert live.engine("partners", acme) is live.engine("partners", globex)
    assert live.engine("partners", acme) is not live.engine("partners", None)


@pytest.mark.parametrize("tier", [None, *Tier])
def test_narrowed_rules_come_to_the_same_verdicts(tier):
    """Whatever the facts that are left open, for the policy that comes with the relay."""
    whole = load_policies({"public": ("defaults",)}, FILES.__getitem__)
    identity = Identity("acme", tier=tier) if tier else None
    narrow = LivePolicies(whole).engine("public", identity)
    full = whole.engines["public", ()]
    assert any(
        narrow.plans[stage].answers(Facts()) != full.plans[stage].answers(Facts())
        for stage in (Stage.SENDER, Stage.MESSAGE)
    ), "some rule was left out"
    case = Case(peer=Endpoint("192.0.2.1", 1), listener="public", identity=identity)
    of_tier = frozenset({"identity.known", "identity.tier"})
    known = IdentityCheck(FakeClock()).report(case, Stage.HELLO, of_tier)
    # What is asked of the check is what was foreseen of it.
    room = RateCheck(MemoryStore(), FakeClock())
    for stage in Stage:
        assert room.at_once(case, stage, frozenset()) is not None
    drawn = Random(7)
    refused = 0
    for _ in range(300):
        facts = dict(known)
        for fact in catalogue.facts().values():
            if fact.name not in facts and drawn.random() < 0.9:
                facts[fact.name] = drawn.choice(VALUES[fact.type])
        for limited in Stage:
            limits = rate.limits_for(tier, full.limits)
            if limited not in {limit.stage for limit in limits}:
                facts |= room.at_once(case, limited, frozenset())
        for stage in Stage:
            verdict = full.judge(stage, facts)
            assert narrow.judge(stage, facts) == verdict, (stage, facts)
            refused += verdict.reply is not None
    assert refused


@pytest.fixture
def configuration(tmp_path):
    pair = {"chain": tmp_path / "edge.pem", "key": tmp_path / "edge.key"}
    listeners = [
        {"name": "a", "address": "192.0.2.25:25", "certificate": [pair],
         "proxy_protocol_from": ["198.51.100.0/30"]},
        {"name": "b", "address": "[::]:25", "certificate": [pair]},
        {"name": "c", "address": "unix:/run/x.sock", "certificate": [pair]},
    ]  # fmt: skip
    return Settings.model_validate(
        {
            "hostname": "edge.example",
            "listener": listeners,
            "route": {"*": {"hosts": ["mx.example"]}},
            "policy": {"exempt": ["203.0.113.0/24"]},
        }
    )


@pytest.mark.parametrize(
    ("address", "is_banned"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("192.0.2.25", False),
        ("198.51.100.1", False),
        ("203.0.113.9", False),
        ("198.51.100.77", False),
        ("2001:db8::77", False),
        ("192.0.2.26", True),
        ("198.51.100.9", True),
        ("2001:db8::1", True),
    ],
)
def test_whom_nobody_bans(address, is_banned, configuration):
    view = Restrictions()
    for everybody in ("0.0.0.0/0", "::/0"):
        view.put(Restriction(RestrictionKind.BAN, everybody, "", "", 0.0))
    own = [ip_address("198.51.100.77"), ip_address("2001:db8::77")]
    consequences = make_consequences(configuration, view, own)
    assert consequences.is_banned(Endpoint(address, 25)) is is_banned


def test_a_check_has_its_own_deadline_or_the_common_one():
    checks = catalogue.settings_type().model_fields["checks"].default
    panel = make_panel(checks.model_copy(update={"timeout": timedelta(seconds=7)}), tools())
    assert panel.ready.keys().isdisjoint(panel.waiting)
    assert panel.ready.keys() | panel.waiting.keys() == catalogue.check_modules().keys()
    assert panel.timeouts["peer"] == timedelta(seconds=7)
    assert panel.timeouts["spf"] == checks.spf.timeout
