"""The command line as a whole: what there is, and how mistakes end."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from relay.cli import main as main_module
from relay.cli.context import find_config
from relay.cli.main import app, main
from relay.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = "init run demo check ca cert pin send explain status reload".split()


def outcome(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> tuple[object, list[str]]:
    """How `main` ends when a command raises: exit code, lines on standard error."""

    def broken(prog_name: str) -> None:
        raise error

    monkeypatch.setattr(main_module, "app", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err.splitlines()


def test_every_command_is_there_and_explains_itself() -> None:
    listed = CliRunner().invoke(app, ["--help"]).stdout
    for command in COMMANDS:
        assert f"\n  {command} " in listed
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_help_comes_at_once() -> None:
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "relay.cli.main", "--help"], check=True, stdout=-3)
    assert time.monotonic() - started < 3  # 0.2 s on an idle machine


def test_heavy_imports_wait_until_they_are_needed() -> None:
    program = (
        "import sys, relay.cli.main;"
        "print({'pydantic', 'OpenSSL', 'uvloop', 'aiosmtpd', 'aiosmtplib', 'rich'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "set()"


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("gatepost 0.")


def test_each_mistake_of_the_operator_is_a_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ConfigurationError("no route", remedy="add one", path="a.toml")
    first = ConfigurationError("bad pin", remedy="use hex", path="a.toml", line=7, others=(other,))
    assert outcome(monkeypatch, capsys, first) == (
        2,
        ["a.toml:7: bad pin; use hex", "a.toml: no route; add one"],
    )


def test_what_can_not_be_had_is_a_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(monkeypatch, capsys, Unavailable("no relay is running")) == (
        1,
        ["no relay is running"],
    )


def test_a_file_that_can_not_be_used_is_a_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = PermissionError(13, "Permission denied", "/etc/key")
    code, lines = outcome(monkeypatch, capsys, error)
    assert (code, lines) == (2, ["/etc/key: Permission denied; check the path and its mode"])


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(prog_name: str) -> None:
        raise OSError("no file's fault")

    monkeypatch.setattr(main_module, "app", broken)
    with pytest.raises(OSError, match="no file's fault"):
        main()


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relay.cli.status.load_configuration", interrupted)
    assert CliRunner().invoke(app, ["status"]).exit_code == 130


def test_the_given_configuration_comes_first_then_the_working_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="no configuration"):
        find_config(None)
    (tmp_path / "gatepost.toml").touch()
    assert str(find_config(None)) == "gatepost.toml"
    assert find_config(tmp_path / "other.toml") == tmp_path / "other.toml"
