"""Policy files: each mistake with its place, and how files go over each other."""

import pytest

from relay.errors import ConfigurationError
from relay.policy.facts import Stage
from relay.policy_files import DEFAULTS, compile_stacks, load_policies

PATH = "policy/partners.toml"
REPLY = 'reply = "550 5.7.1 No"'


def rule(when="sender.is_null", then="reject", at="sender", name="r", more=REPLY):
    return f'[[rule]]\nname = "{name}"\nat = "{at}"\nwhen = \'{when}\'\nthen = "{then}"\n{more}\n'


def compiled(*texts, **others):
    """The engine of files put over each other, the first one first; `others` are files of lists."""
    files = {f"policy/{number}.toml": text for number, text in enumerate(texts)}
    stack = tuple(files)
    files |= {f"policy/{name}.txt": text for name, text in others.items()}

    def read(path):
        if path not in files:
            raise ConfigurationError(f"{path} is not there", remedy="check the path")
        return files[path]

    return compile_stacks([stack], read)[stack]


def names(engine, stage=Stage.SENDER):
    """The rules of a stage in their order, without those that are always in force."""
    return [
        rule.name
        for rule in engine.rules
        if rule.at is stage and not rule.name.startswith("identity_")
    ]


# (name, text, line, words of the problem and the remedy, what the caret points at)
MISTAKES = [
    ("no TOML", "[[rule]\n", 1, "no valid TOML", None),
    ("unknown table", "[[rules]]\n", 1, "unknown table `rules`; did you mean `rule`?", "[["),
    ("not a list of rules", "rule = 3\n", 1, "not a list", "3"),
    ("unknown key", rule(more=f'{REPLY}\nrepy = "x"'), 7, "`rule.repy`; did you mean `reply`?", '"x"'),
    ("no name", '[[rule]]\nat = "sender"\n', 1, "a rule without a name", "[["),
    ("name in capitals", rule(name="R 1"), 2, "lower-case letters", '"R 1"'),
    ("two of one name", rule() + rule(), 8, 'two rules are named "r"', '"r"'),
    ("a name that is always in force", rule(name="identity_sender"), 2, "is taken", '"identity_'),
    ("a word of the audit", rule(name="trust"), 2, "is taken", '"trust"'),
    ("no stage", '[[rule]]\nname = "r"\nthen = "accept"\n', 1, "`at` is missing; add `at", "[["),
    ("unknown stage", rule(at="data"), 3, "use connect, hello, sender, recipient or message", '"data"'),
    ("no action", '[[rule]]\nname = "r"\nat = "hello"\n', 1, "`then` is missing; add `then", "[["),
    ("unknown action", rule(then="drop"), 5, "use accept, reject, defer, tag, ban or suspend", '"drop"'),
    ("condition is no text", rule().replace("'sender.is_null'", "true"), 4, "is not text", "true"),
    ("unknown fact", rule("identity.nam == 'x'".replace("'", '"')), 4, "unknown fact `identity.nam`; did you mean `identity.name`?", "identity.nam"),
    ("a group of facts", rule("identity"), 4, "name one of its facts: identity.known", "identity"),
    ("wrong type", rule('sender.size_bytes > "a"'), 4, "`>` can't be used with (int, string)", '> "a"'),
    ("whole number for a fraction", rule("dnsbl.score > 3"), 4, "write 3.0", "> 3"),
    ("not true or false", rule("sender.domain"), 4, "is a text, not true or false", "sender.domain"),
    ("text joined", rule("sender.is_null && sender.domain"), 4, "compare first", "&& "),
    ("one equals sign", rule('sender.domain = "x"'), 4, "write `==`", '= "x"'),
    ("one ampersand", rule("sender.is_null & true"), 4, "write `&&`", "& true"),
    ("ends too early", rule("sender.size_bytes >"), 4, "ends too early", "'"),
    ("unreachable stage", rule('recipient.domain == "x"'), 4, '`recipient.domain` is not known yet at sender, but at recipient only; write `at = "recipient"`', "recipient"),
    ("one of several recipients", rule('recipient.domain == "x"', at="message"), 4, '`recipient.domain` is about one recipient, and a message may have several; write `at = "recipient"`', "recipient"),
    ("unknown function", rule('sender.domain.lower() == "x"'), 4, "unknown function `lower`; there are: startsWith", "lower("),
    ("no regular expression", rule('sender.local.matches("(")'), 4, "is no regular expression: missing )", '(")\''),
    ("too large a regular expression", rule('sender.local.matches("(a{900}){900}")'), 4, "is no regular expression", "(a{9"),
    ("a pattern from outside", rule("sender.local.matches(sender.domain)"), 4, "what a client sends must not be a pattern", "matches"),
    ("loops in loops", rule("identity.authors.all(a, identity.authors.all(b, a == b))", at="message"), 4, "a loop in a loop", "identity"),
    ("too long", rule(" || ".join(["sender.is_null"] * 300)), 4, "5396 characters", "sender"),
    ("too deep", rule("(" * 90 + "true" + ")" * 90), 4, "nested too deeply", "(("),
    ("too deep to be joined", rule("(" * 32 + "true" + ")" * 32), 4, "nested too deeply", "(("),
    ("unknown list", rule("lists.partners.has(sender.domain)"), 4, "no list `lists.partners`; there are: none", "lists"),
    ("a list as a value", rule("sender.domain in lists.p") + "[lists.p]\nvalues = []\n", 4, "ask it as `lists.p.has(sender.domain)`", "lists.p"),
    ("a number in a list", rule("lists.p.has(sender.size_bytes)") + "[lists.p]\nvalues = []\n", 4, "can't be used with (int)", "(sender"),
    ("no reply", rule(more=""), 5, '`then = "reject"` needs a `reply`; add `reply = "550', '"reject"'),
    ("reply without a code", rule(more='reply = "go away"'), 6, "does not begin with a code", "go"),
    ("reply without an enhanced code", rule(more='reply = "550 go away"'), 6, 'write it as "550 5.7.1 go away"', " go"),
    ("codes that don't match", rule(more='reply = "550 4.7.1 go away"'), 6, "write 5.7.1", "4.7.1"),
    ("a temporary rejection", rule(more='reply = "451 4.7.1 go away"'), 6, "does not go with a 451", "451"),
    ("a permanent deferral", rule(then="defer"), 6, "does not go with a 550", "550"),
    ("a reply that says nothing", rule(more='reply = "550 5.7.1"'), 6, "says nothing", " "[:0]),
    ("a second line in a reply", rule(more='reply = "550 5.7.1 a\\r\\n250 ok"'), 6, "may not stand in it", ""),
    ("a long reply", rule(more=f'reply = "550 5.7.1 {"x" * 500}"'), 6, "500 characters, and may have 400", "x"),
    ("unknown fact in a reply", rule(more='reply = "550 5.7.1 {foo.bar}"'), 6, "unknown fact `foo.bar`", "{foo"),
    ("a later fact in a reply", rule(more='reply = "550 5.7.1 {recipient.domain}"'), 6, "not known yet at sender", "{rec"),
    ("an open brace", rule(more='reply = "550 5.7.1 {sender.domain"'), 6, "stands alone", "{sen"),
    ("tag without a field", rule(then="tag", more=""), 5, "needs a `header`", '"tag"'),
    ("tag without a value", rule(then="tag", more='header = "X-A"'), 5, "needs a `value`", '"tag"'),
    ("no field name", rule(then="tag", more='header = "X A"\nvalue = "x"'), 6, "no name of a header field", '"X A"'),
    ("a forged From", rule(then="tag", more='header = "From"\nvalue = "x"'), 6, "a meaning of its own", '"From"'),
    ("ban without a duration", rule(then="ban"), 5, "needs a `duration`", '"ban"'),
    ("no duration", rule(then="ban", more=f'{REPLY}\nduration = "an hour"'), 7, "is no duration", '"an hour"'),
    ("half the Internet", rule(then="ban", more=f'{REPLY}\nduration = "1h"\nprefix = 1'), 8, "use at least 8", "1"),
    ("a key of another action", rule(more=f'{REPLY}\nduration = "1h"'), 7, 'it goes with "ban" or "suspend"', '"1h"'),
    ("unknown mode", rule(more=f'{REPLY}\nmode = "dry"'), 7, "use enforce or shadow", '"dry"'),
    ("accept on error", rule(then="accept", more='on_error = "break"'), 6, "would be accepted for that", '"break"'),
    ("pass on error", rule(more=f'{REPLY}\non_error = "pass"'), 7, "use defer, skip or break", '"pass"'),
    ("switching off nothing", '[[rule]]\nname = "x"\nenabled = false\n', 2, "no such rule to switch off", '"x"'),
    ("empty list", "[lists.p]\nkind = 'exact'\n", 1, "the list p has no entries", "[lists"),
    ("unknown kind of list", "[lists.p]\nkind = 'regex'\nvalues = []\n", 2, "use exact, domain or network", "'regex'"),
    ("no network", "[lists.p]\nkind = 'network'\nvalues = [\n  '192.0.2.0/24',\n  'x',\n]\n", 5, "'x' is no network", "x'"),
    ("no domain", "[lists.p]\nkind = 'domain'\nvalues = ['a@b.example']\n", 3, "is no domain", "a@b"),
    ("list file not there", "[lists.p]\nfile = 'gone.txt'\n", 2, "gone.txt is not there", "'gone"),
    ("list named in capitals", "[lists.P]\nvalues = []\n", 1, "can't name a list", "[lists"),
    ("third line of a condition", rule().replace("'sender.is_null'", "'''\n  sender.is_null &&\n  sender.domainn == 'x\"'''".replace("'x\"", '"x"')), 6, "unknown fact `sender.domainn`", "sender.domainn"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "words", "pointed"),
    [case[1:] for case in MISTAKES],
    ids=[c[0] for c in MISTAKES],
)
def test_a_mistake_is_told_with_its_place(text, line, words, pointed):
    with pytest.raises(ConfigurationError) as caught:
        compiled(text)
    told, *excerpt = str(caught.value).split("\n")
    assert told.startswith(f"policy/0.toml:{line}: ")
    assert words in told
    assert "; " in told
    assert not caught.value.others
    if pointed is not None:
        source, caret = excerpt
        assert caret.strip() == "^"
        assert source[caret.index("^") :].startswith(pointed)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        compiled(rule("foo.bar", name="one") + rule("foo.baz", name="two"))
    assert [each.line for each in (caught.value, *caught.value.others)] == [4, 10]


def test_a_mistake_in_a_list_file_is_told_at_its_line():
    with pytest.raises(ConfigurationError) as caught:
        compiled("[lists.p]\nkind = 'network'\nfile = 'p.txt'\n", p="192.0.2.1\n# all good\nfoo\n")
    assert str(caught.value).startswith("policy/p.txt:3: 'foo' is no network")


def test_a_long_line_is_shown_around_the_place():
    with pytest.raises(ConfigurationError) as caught:
        compiled(rule("sender.is_null || " * 50 + "foo.bar"))
    source, caret = caught.value.excerpt.split("\n")
    assert len(source) <= 110
    assert source[caret.index("^") :].startswith("foo.bar")


# --- files over each other ------------------------------------------------------------------------


def test_rules_stand_in_the_order_of_the_files():
    assert names(compiled(rule(name="a") + rule(name="b"), rule(name="c"))) == ["a", "b", "c"]


def test_identity_rules_come_first_whatever_the_files_say():
    assert compiled(rule()).rules[0].name == "identity_network"
    assert [each.name for each in compiled("").rules] == [
        "identity_network",
        "identity_sender",
        "identity_recipient",
        "identity_author",
    ]


def test_a_later_file_replaces_what_it_says_of_a_rule_and_its_place_stays():
    engine = compiled(
        rule(name="a") + rule(name="b"),
        '[[rule]]\nname = "a"\nwhen = "sender.size_bytes > 10"\nmode = "shadow"\n',
    )
    assert names(engine) == ["a", "b"]
    changed = next(each for each in engine.rules if each.name == "a")
    assert changed.when.text == "sender.size_bytes > 10"
    assert changed.is_shadow
    assert changed.reply.code == 550


def test_a_later_file_switches_a_rule_off():
    engine = compiled(rule(name="a") + rule(name="b"), '[[rule]]\nname = "a"\nenabled = false\n')
    assert names(engine) == ["b"]


def test_a_mistake_in_a_replaced_key_is_told_in_the_file_that_has_it():
    with pytest.raises(ConfigurationError) as caught:
        compiled(rule(name="a"), '[[rule]]\nname = "a"\nwhen = "foo.bar"\n')
    assert str(caught.value).startswith("policy/1.toml:3: ")


def test_a_later_file_replaces_a_list():
    first = rule("lists.p.has(sender.domain)") + "[lists.p]\nvalues = ['a.example']\n"
    engine = compiled(first, "[lists.p]\nvalues = ['b.example']\n")
    verdict = engine.judge(Stage.SENDER, facts(engine, **{"sender.domain": "b.example"}))
    assert verdict.rule == "r"
    assert engine.judge(Stage.SENDER, facts(engine, **{"sender.domain": "a.example"})).is_compliant


def facts(engine, **known):
    given = {name: True for rule in engine.rules for name in rule.when.facts}
    return given | known


def test_a_list_has_its_inline_entries_and_those_of_its_file():
    text = rule("lists.p.has(sender.domain)") + (
        "[lists.p]\nkind = 'domain'\nvalues = ['a.example']\nfile = 'p.txt'\n"
    )
    engine = compiled(text, p="# partners\nb.example  # since May\n\n")
    for domain, rule_name in (
        ("a.example", "r"),
        ("mail.b.example", "r"),
        ("since", ""),
        ("c.example", ""),
    ):
        known = facts(engine, **{"sender.domain": domain})
        assert engine.judge(Stage.SENDER, known).rule == rule_name


def test_what_was_read_is_remembered_for_the_workers():
    texts = {PATH: "[lists.p]\nfile = 'p.txt'\n", "policy/p.txt": "a\n"}
    policies = load_policies({"partners": (DEFAULTS, PATH), "public": ()}, texts.__getitem__)
    assert policies.texts == texts
    assert policies.engines.keys() == {("partners", ()), ("public", ())}
    again = load_policies(policies.stacks, policies.texts.__getitem__)
    assert [each.name for each in again.engines["partners", ()].rules] == [
        each.name for each in policies.engines["partners", ()].rules
    ]


def test_listeners_with_the_same_files_share_their_rules():
    policies = load_policies({"a": (PATH,), "b": (PATH,)}, {PATH: rule()}.__getitem__)
    assert policies.engines["a", ()] is policies.engines["b", ()]


def test_each_listener_has_its_rules_with_and_without_those_of_identities():
    texts = {PATH: rule(name="a"), "own.toml": rule(name="b")}
    policies = load_policies({"one": (PATH,), "two": ()}, texts.__getitem__, [("own.toml",)])
    assert {key: names(engine) for key, engine in policies.engines.items()} == {
        ("one", ()): ["a"],
        ("one", ("own.toml",)): ["a", "b"],
        ("two", ()): [],
        ("two", ("own.toml",)): ["b"],
    }


def test_a_tag_of_one_listener_comes_in_by_no_other():
    """Who reads it behind us would believe that we have written it."""
    text = rule("true", at="message", then="tag", more='header = "X-Partner"\nvalue = "yes"')
    found = load_policies({"partners": ("tags.toml",), "public": ("defaults",)}, lambda _: text)
    assert b"x-partner" in found.engines["public", ()].tag_headers
    assert b"x-gatepost-quarantine" in found.engines["partners", ()].tag_headers
