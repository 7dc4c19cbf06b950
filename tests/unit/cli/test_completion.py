"""What the shell is offered: commands, and the names in the operator's own files."""

import os
import subprocess

import pytest

from tests.kit.relay_process import COMMAND, REPOSITORY


def completed(site, *words):
    """What bash is offered for the last of some words."""
    asked = {
        "_GATEPOST_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("gatepost", *words)),
        "COMP_CWORD": str(len(words)),
        "GATEPOST_CONFIG": str(site.configuration),
    }
    done = subprocess.run(
        COMMAND, env=os.environ | asked, cwd=REPOSITORY, capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("reputation", "sh"), ["show"]),
        (("reputation", "show", "fi"), ["first"]),
        (("reputation", "show", "fo"), []),
        (("pin", "suspend", "fi"), ["first"]),
        (("policy", "show", "--identity", "f"), ["first"]),
        (("policy", "show", "--listener", "e"), ["edge"]),
        (("policy", "explain", "--as", "f"), ["first"]),
    ],
)
def test_commands_and_names_are_offered(site, words, offered):
    assert completed(site, *words) == offered


@pytest.mark.parametrize("broken", ["configuration", "allowlist"])
def test_where_a_file_has_mistakes_nothing_is_offered(site, broken):
    getattr(site, broken).write_text("no TOML at all")
    assert completed(site, "pin", "suspend", "fi") == []
