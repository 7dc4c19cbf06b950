"""The same promises as beside this file, by the number: mutants of good input through every parser.

Hypothesis shrinks what it finds, and is slow; here a seeded generator makes as many inputs as
`GATEPOST_FUZZ_EXAMPLES` says (`make fuzz`: 100,000 through each parser). The seed and the number of
the input stand in the message of a failure.
"""

import os
import random

import pytest

from tests.fuzz import (
    test_allowlist,
    test_archives,
    test_clienthello,
    test_commands,
    test_dkim,
    test_framing,
    test_mime,
    test_proxy_protocol,
    test_replies,
)
from tests.kit.fuzz import mutant

EXAMPLES = int(os.environ.get("GATEPOST_FUZZ_EXAMPLES", "1000"))
SEED = int(os.environ.get("GATEPOST_FUZZ_SEED", "20261121"))


def check_of(test):
    """The promise itself, without hypothesis around it."""
    return test.hypothesis.inner_test


def with_cuts(test):
    promise = check_of(test)
    return lambda chance, data: promise(
        data, [chance.randrange(2**16) for _ in range(chance.randrange(9))]
    )


def as_it_is(test):
    promise = check_of(test)
    return lambda chance, data: promise(data)


def as_text(test):
    promise = check_of(test)
    return lambda chance, data: promise(data.decode("utf-8", "surrogateescape"))


TARGETS = {
    "archives": (
        test_archives.SEEDS,
        as_it_is(test_archives.test_whatever_an_archive_is_it_is_looked_at_within_the_limits),
    ),
    "tag lists": (
        test_dkim.VALUES + test_dkim.RECORDS,
        as_it_is(test_dkim.test_a_tag_list_is_read_or_refused),
    ),
    "signatures": (test_dkim.VALUES, as_it_is(test_dkim.test_a_signature_is_read_or_refused)),
    "key records": (test_dkim.RECORDS, as_it_is(test_dkim.test_a_key_record_is_read_or_refused)),
    "DKIM": (test_dkim.MESSAGES, as_it_is(test_dkim.test_what_passes_was_signed)),
    "ARC": (test_dkim.CHAINS, as_it_is(test_dkim.test_a_chain_that_passes_was_sealed)),
    "mime": (
        test_mime.SEEDS,
        as_it_is(
            test_mime.test_whatever_comes_has_parts_that_lie_in_it_one_after_the_other,
        ),
    ),
    "commands": (test_commands.SEEDS, with_cuts(test_commands.test_the_cuts_make_no_difference)),
    "data framing": (test_framing.SEEDS, with_cuts(test_framing.test_data_is_read_as_the_rfc_says)),
    "bare newlines": (
        test_framing.SEEDS,
        with_cuts(test_framing.test_a_bare_newline_is_seen_before_the_end),
    ),
    "counted content": (
        test_framing.SEEDS,
        with_cuts(test_framing.test_counted_content_is_kept_as_it_is),
    ),
    "command lines": (test_framing.SEEDS, with_cuts(test_framing.test_command_lines)),
    "ClientHello": (
        test_clienthello.SEEDS,
        with_cuts(test_clienthello.test_only_the_documented_exception_escapes_however_it_is_cut),
    ),
    "PROXY header": (
        test_proxy_protocol.SEEDS,
        as_it_is(test_proxy_protocol.test_a_verdict_is_final_however_the_bytes_come),
    ),
    "replies": (test_replies.SEEDS, with_cuts(test_replies.test_any_cut_gives_the_same)),
    "allowlist": (
        test_allowlist.SEEDS,
        as_text(test_allowlist.test_an_allowlist_is_read_or_refused),
    ),
}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS)
def test_every_mutant_is_read_or_refused(target):
    seeds, promise = TARGETS[target]
    chance = random.Random(f"{SEED} {target}")
    for number in range(EXAMPLES):
        data = mutant(chance, seeds)
        try:
            promise(chance, data)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, input {number}: {data!r}") from error
