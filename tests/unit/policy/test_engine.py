"""Rules are asked in order; what is remembered is what would have been found anew."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.policy.engine import UNAVAILABLE
from relay.policy.facts import Facts, Missing, Stage
from relay.policy.verdict import COMPLIANT
from tests.kit.policy import engine_of

OWN = {"identity.may_connect": True, "identity.may_send": True}


def rule(name, when, then="reject", more='reply = "550 5.7.1 {sender.local}"', **keys):
    lines = [f'[[rule]]\nname = "{name}"\nat = "sender"\nwhen = \'{when}\'\nthen = "{then}"', more]
    return "\n".join([*lines, *(f'{key} = "{value}"' for key, value in keys.items())]) + "\n"


def judge(text, **facts):
    known = {name.replace("__", "."): value for name, value in facts.items()}
    return engine_of(text).judge(Stage.SENDER, OWN | known)


TAG = {"then": "tag", "more": 'header = "X-Tag"\nvalue = "{sender.local}"'}


def test_without_a_breach_the_answer_is_always_the_same_object():
    assert judge(rule("r", 'sender.local == "x"'), sender__local="y") is COMPLIANT


def test_the_first_broken_rule_decides():
    text = rule("one", "sender.is_null") + rule("two", "true") + rule("three", "true")
    assert judge(text, sender__is_null=False, sender__local="x").rule == "two"


def test_accept_ends_the_stage():
    text = rule("friend", "sender.is_null", "accept", "") + rule("all", "true")
    assert judge(text, sender__is_null=True, sender__local="x") is COMPLIANT
    assert judge(text, sender__is_null=False, sender__local="x").rule == "all"


def test_tags_are_gathered_until_a_rule_decides():
    text = rule("a", "true", **TAG) + rule("b", "sender.is_null") + rule("c", "true", **TAG)
    verdict = judge(text, sender__is_null=False, sender__local="x")
    assert verdict.is_compliant
    assert verdict.tags == (("X-Tag", "x"), ("X-Tag", "x"))
    assert judge(text, sender__is_null=True, sender__local="x").tags == (("X-Tag", "x"),)


def test_a_rule_in_shadow_is_named_and_lets_the_next_decide():
    text = rule("quiet", "true", mode="shadow") + rule("loud", "true")
    verdict = judge(text, sender__local="x")
    assert (verdict.rule, verdict.shadow) == ("loud", ("quiet",))
    assert judge(rule("quiet", "true", mode="shadow")).shadow == ("quiet",)


UNKNOWN = Missing("no answer in time")


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [("defer", ("r", 451)), ("break", ("r", 550)), ("skip", ("", None))],
)
def test_what_can_not_be_found_out_is_never_passed_unless_the_rule_says_so(on_error, expected):
    verdict = judge(rule("r", 'sender.local == "x"', on_error=on_error), sender__local=UNKNOWN)
    assert (verdict.rule, verdict.reply and verdict.reply.code) == expected


def test_a_deferral_for_what_is_unknown_says_nothing_of_it():
    assert judge(rule("r", 'sender.local == "x"'), sender__local=UNKNOWN).reply is UNAVAILABLE


def test_a_fact_that_nobody_has_found_out_is_as_good_as_unknown():
    assert judge(rule("r", 'sender.local == "x"')).reply is UNAVAILABLE


def test_a_fact_of_the_wrong_type_is_as_good_as_unknown():
    assert judge(rule("r", 'sender.local == "x"'), sender__local=7).reply is UNAVAILABLE
    assert judge(rule("r", "sender.is_null"), sender__is_null="yes").reply is UNAVAILABLE


@pytest.mark.parametrize("condition", ["false && {}", "true || {}"])
def test_what_does_not_depend_on_the_unknown_is_known(condition):
    text = rule("r", condition.format('sender.local == "x"'))
    verdict = judge(text, sender__local=UNKNOWN)
    assert verdict.is_compliant == condition.startswith("false")


def test_a_number_divided_by_nothing_is_unknown():
    assert judge(rule("r", "1 / sender.size_bytes > 0"), sender__size_bytes=0).reply is UNAVAILABLE


def test_bytes_that_are_no_text_are_no_way_out():
    text = rule("r", 'sender.local != "x"')
    assert judge(text, sender__local="\udcff").rule == "r"


def test_a_loop_that_takes_too_long_is_unknown():
    text = rule("r", "dnsbl.reasons.exists(each, each == sender.local)")
    verdict = judge(text, dnsbl__reasons=("x",) * 200_000, sender__local="y")
    assert verdict.reply is UNAVAILABLE


# --- what is pending ------------------------------------------------------------------------------


def outcome(text, **facts):
    known = Facts(OWN | {name.replace("__", "."): value for name, value in facts.items()})
    return engine_of(text).plans[Stage.SENDER].judge(known)


def pending(text, **facts):
    return {name for need in outcome(text, **facts).pending for name in need.facts}


def test_only_what_the_verdict_depends_on_is_pending():
    text = rule("list", "!identity.known && dnsbl.score > 1.0") + rule(
        "spf", 'spf.result == "fail"'
    )
    assert pending(text, identity__known=True) == {"spf.result"}
    assert pending(text, identity__known=False) == {"dnsbl.score", "spf.result"}


def test_nothing_is_pending_behind_a_rule_that_decides():
    text = rule("known", "identity.known") + rule("list", "dnsbl.score > 1.0")
    assert not pending(text, identity__known=True)
    assert pending(text, identity__known=False) == {"dnsbl.score"}


def test_a_rule_before_one_that_decides_may_be_pending():
    text = rule("list", "dnsbl.score > 1.0") + rule("known", "identity.known")
    assert pending(text, identity__known=True) == {"dnsbl.score"}
    assert outcome(text, identity__known=True).decided is None
    assert outcome(text, identity__known=True, dnsbl__score=2.0).decided.name == "list"
    assert outcome(text, identity__known=True, dnsbl__score=0.0).decided.name == "known"


# --- what is remembered ---------------------------------------------------------------------------

RULES = (
    rule("a", 'identity.known && sender.local.startsWith("a")', **TAG)
    + rule("b", "sender.size_bytes > 100 || identity.age_days < 3", mode="shadow")
    + rule("c", "dnsbl.score > 1.5 && !(sender.local in dnsbl.lists)", on_error="skip")
    + rule("d", 'sender.local == "d"', "accept", "")
    + rule("e", "size(dnsbl.lists) == 2", on_error="break")
    + rule("f", "identity.age_days == 7")
)  # fmt: skip
FACTS = st.fixed_dictionaries(
    {
        "identity.known": st.booleans(),
        "identity.age_days": st.one_of(st.integers(0, 8), st.just(UNKNOWN)),
        "sender.local": st.sampled_from(["a", "d", "x", ""]),
        "sender.size_bytes": st.sampled_from([0, 1, 1000]),
        "dnsbl.score": st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.just(UNKNOWN)),
        "dnsbl.lists": st.one_of(st.sampled_from([(), ("a", "b"), ("x",)]), st.just(UNKNOWN)),
    }
)
fresh = engine_of.__wrapped__


@settings(deadline=None, max_examples=200)
@given(FACTS)
def test_a_remembered_verdict_is_the_one_found_anew(facts):
    remembering, forgetting = engine_of(RULES), fresh(RULES)
    first = remembering.judge(Stage.SENDER, OWN | facts)
    assert first == forgetting.judge(Stage.SENDER, OWN | facts)
    assert first == remembering.judge(Stage.SENDER, OWN | facts)


def test_what_clients_list_is_not_taken_for_what_could_not_be_found_out():
    """A file named as our reason would have had its verdict given to messages nobody could look into."""
    text = '[[rule]]\nname = "exe"\nat = "message"\nthen = "reject"\nreply = "554 5.7.1 No"\n'
    text += "when = 'attachment.names.exists(name, name.endsWith(\".exe\"))'\n"
    own = {"identity.may_write": True}
    named = engine_of(text).judge(Stage.MESSAGE, own | {"attachment.names": (UNKNOWN.reason,)})
    assert named is COMPLIANT
    unknown = engine_of(text).judge(Stage.MESSAGE, own | {"attachment.names": UNKNOWN})
    assert unknown.reply == UNAVAILABLE


def test_memory_is_bounded():
    engine = fresh(rule("r", 'sender.local == "x"'))
    for number in range(3000):
        engine.judge(Stage.SENDER, OWN | {"sender.local": f"{number}"})
    for number in range(100):
        engine.judge(Stage.SENDER, OWN | {"sender.local": f"{number}" * 5000})
    held = engine.plans[Stage.SENDER]._memory.held
    assert 0 < len(held) <= 1024
    assert all(len(str(key)) < 3000 for key in held)


@pytest.mark.parametrize("broken", [0, 30, 31, 32, 69, None])
def test_a_rule_has_its_say_wherever_it_stands_among_many(broken):
    text = "".join(rule(f"r{n}", f'sender.local == "x{n}" // number {n}') for n in range(70))
    verdict = judge(text, sender__local=f"x{broken}")
    assert verdict.rule == ("" if broken is None else f"r{broken}")


def test_one_that_can_not_be_evaluated_has_its_say_among_those_that_do_not_hold():
    text = (
        rule("a", "sender.is_null") + rule("bad", "1 / sender.size_bytes > 2") + rule("c", "false")
    )
    assert judge(text, sender__is_null=False, sender__size_bytes=1) is COMPLIANT
    assert judge(text, sender__is_null=False, sender__size_bytes=0).rule == "bad"
