"""What rules cost: CPU for the verdict of one stage on facts that are there, by number of rules.

    python bench/policy.py            the table for 3, 30 and 300 rules (about 10 seconds; `make bench-policy`)

Three cases: *all new*, every fact is one never seen before (nobody's mail is like that); *one new*, the
sender is another one and the rest is as before (a busy relay); *the same*, a connection that goes on. In all
of them no rule breaks, so that all are asked. Knows no relay: no checks, no I/O.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

from relay.policy.facts import Facts, Stage
from relay.policy_files import compile_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.policy.engine import Engine

CONDITIONS = (
    "!identity.known && dnsbl.score >= {n}.5",
    "sender.domain == 'blocked{n}.example'",
    "lists.partners.has(sender.domain) && tls.version == 'TLSv1.{n}'",
    "sender.size_bytes > {n}000000",
    "identity.tier == 'new' && sender.local.startsWith('list{n}')",
    "hello.name.endsWith('.dyn{n}.example') && !hello.is_fqdn",
    "peer.country in ['X{n}', 'Y{n}'] || spf.result == 'fail{n}'",
    "sender.local.contains('x{n}') && !sender.is_null",
    "size(dnsbl.lists) > {n} && 'dnsbl{n}.example' in dnsbl.lists",
    "tls.downgraded && sender.domain != 'partner{n}.example'",
)
PATTERN = "sender.local.matches('^[0-9]{{5,}}x{n}$')"
COUNTS = ((3, 0), (30, 0), (30, 3), (300, 0))
"""How many rules, and how many of them match a regular expression."""

SECONDS = 0.7
LIST = '[lists.partners]\nkind = "domain"\nvalues = ["acme.example", "globex.example"]\n'


def engine(rules: int, patterns: int) -> Engine:
    """Rules of ten kinds that never hold; the last ones match a regular expression."""
    text = LIST
    for number in range(rules):
        kind = CONDITIONS[number % len(CONDITIONS)] if number < rules - patterns else PATTERN
        when = kind.format(n=number + 10)
        text += (
            f'[[rule]]\nname = "rule-{number}"\nat = "sender"\nwhen = """{when}"""\n'
            'then = "reject"\nreply = "550 5.7.1 No"\n'
        )
    return compile_stacks([("rules.toml",)], {"rules.toml": text}.__getitem__)[("rules.toml",)]


def facts(number: int) -> Facts:
    """Facts none of which is that of another number."""
    return Facts(
        {
            "identity.known": False,
            "identity.tier": f"tier{number}",
            "identity.may_connect": True,
            "identity.may_send": True,
            "dnsbl.score": number / 1e9,
            "dnsbl.lists": (f"list{number}",),
            "sender.domain": f"d{number}.example",
            "sender.local": f"local{number}",
            "sender.size_bytes": number,
            "sender.is_null": False,
            "tls.version": f"TLS{number}",
            "tls.downgraded": False,
            "hello.name": f"mx{number}.example",
            "hello.is_fqdn": True,
            "peer.country": f"C{number}",
            "spf.result": f"none{number}",
        }
    )


def one_new(number: int) -> Facts:
    """Another sender, the rest as before."""
    return Facts(facts(0) | {"sender.local": f"local{number}"})


def the_same(_: int) -> Facts:
    """As before."""
    return facts(0)


def microseconds(judged: Engine, make: Callable[[int], Facts]) -> float:
    """CPU for one verdict; what making the facts takes is not counted."""
    plan = judged.plans[Stage.SENDER]
    assert plan is not None
    spent, done = 0.0, 0
    begun = time.monotonic()
    while time.monotonic() - begun < SECONDS:
        batch = [make(done + offset + 1) for offset in range(200)]
        before = time.process_time()
        for each in batch:
            outcome = plan.judge(each)
        spent += time.process_time() - before
        assert outcome.decided is None
        assert not outcome.pending
        done += len(batch)
    return spent / done * 1e6


def main() -> None:
    """Print the table."""
    print(f"Python {platform.python_version()}, us of CPU for the verdict of a stage\n")
    print("| rules | all new | one new | the same |")
    print("|---|---|---|---|")
    for count, patterns in COUNTS:
        judged = engine(count, patterns)
        cells = (microseconds(judged, make) for make in (facts, one_new, the_same))
        label = f"{count}, {patterns} of them `matches`" if patterns else f"{count}"
        print(f"| {label} | {' | '.join(f'{each:.1f}' for each in cells)} |")


if __name__ == "__main__":
    main()
