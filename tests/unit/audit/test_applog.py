"""The application log: JSON for machines, lines for people, tracebacks without secrets."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from relay.audit.applog import configure_logging
from relay.settings.operation import Log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format="json"))
    structlog.get_logger().info("worker started", pid=7)
    said = json.loads(capsys.readouterr().err)
    assert said["event"] == "worker started"
    assert said["pid"] == 7
    assert said["level"] == "info"
    assert said["timestamp"].endswith("Z")


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log())
    structlog.get_logger().info("here")
    assert json.loads(capsys.readouterr().err)["event"] == "here"


def test_the_standard_librarys_records_come_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format="json"))
    logging.getLogger("asyncio").warning("slow %s", "callback")
    assert json.loads(capsys.readouterr().err)["event"] == "slow callback"


def test_the_level_filters(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log(format="json", level="warning"))
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("style", ["json", "human"])
def test_tracebacks_show_no_local_variables(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Log.model_validate({"format": style}))

    def broken() -> None:
        body = "the mail of " + "somebody"
        raise RuntimeError(len(body))

    try:
        broken()
    except RuntimeError as error:
        structlog.get_logger().error("failed", exc_info=error)
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    assert "the mail of somebody" not in said
