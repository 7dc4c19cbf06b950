"""The container image holds what it promises, as far as its text can tell (no engine needed)."""

import json
import shlex
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def steps():
    """The instructions of the Dockerfile, by stage: (word, rest)."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    stages = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


def values(stage, word):
    return [rest for found, rest in stage if found == word]


def test_every_instruction_is_one_that_docker_knows(steps):
    known = {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
        "HEALTHCHECK", "ENTRYPOINT",
    }  # fmt: skip
    assert {word for stage in steps for word, _ in stage} <= known


def test_the_wheel_is_built_in_a_stage_that_is_left_behind(steps):
    assert len(steps) == 2
    assert values(steps[0], "FROM") == ["python:3.11-slim-bookworm AS build"]
    assert "--from=build" in values(steps[1], "COPY")[0]
    assert all("gcc" not in rest for rest in values(steps[1], "RUN"))


def test_it_does_not_run_as_root(steps):
    words = [word for word, _ in steps[1]]
    assert values(steps[1], "USER") == ["gatepost"]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")


def test_it_starts_the_relay_without_a_shell(steps):
    (entry,) = values(steps[1], "ENTRYPOINT")
    assert json.loads(entry) == ["gatepost", "run"]
    (health,) = values(steps[1], "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["gatepost", "status"]


def test_only_the_state_volume_is_written(steps):
    (volume,) = values(steps[1], "VOLUME")
    (environment,) = values(steps[1], "ENV")
    assert f"GATEPOST_STATE_DIR={volume}" in shlex.split(environment)


def test_what_is_copied_exists_and_passes_the_ignore_file(steps):
    allowed = {
        line[1:]
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {source for rest in values(steps[0], "COPY") for source in rest.split()[:-1]}
    assert copied <= allowed
    missing = [source for source in copied if not (REPOSITORY / source).exists()]
    assert not missing
