"""Reads `tests/dialogs/*.smtp` and plays them to the server engine; the format is in their README."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from relay.smtp.events import Closed, Event, Violation
from relay.smtp.extensions import parse_extensions
from relay.smtp.server import ServerLimits
from tests.kit.smtp_server import EVERYTHING, Caller, Taken, new_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Dialog", "Step", "play", "read_dialog"]

Kind = Literal["C:", "C>", "S:", "S*", "S~", "E:", "X:", "T:", "Q:"]
_STEP = re.compile(r"(C:|C>|S:|S\*|S~|E:|X:|T:|Q:)(?: (.*))?")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[rnt0\\])(?:\*(\d+))?")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_LIMITS = ("max_message_bytes", "max_line_bytes", "max_command_bytes", "max_recipients",
           "max_errors", "max_idle_commands")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One line of a dialog: its mark, what stands behind it, and where."""

    mark: str
    text: str
    line: int


@dataclass(frozen=True)
class Dialog:
    """A file: its settings and its steps."""

    name: str
    settings: dict[str, str]
    steps: tuple[Step, ...]

    @property
    def whole_only(self) -> bool:
        """Whether it is about bytes that come together, and can't be played byte by byte."""
        return "whole_only" in self.settings

    def caller(self) -> Caller:
        """A fresh engine with the settings of this dialog, and somebody who answers it."""
        given = self.settings
        numbers = {name: int(given[name]) for name in _LIMITS if name in given}
        offer = EVERYTHING
        if "offer" in given:
            offer = parse_extensions(["", *given["offer"].replace("+", " ").split(",")])
        engine = new_engine(
            ServerLimits(**{"max_message_bytes": 0, **numbers}),
            tls_required="tls_required" in given,
            tls_active="tls_active" in given,
            reference=given.get("reference", ""),
        )
        return Caller(engine, offer, handshake=False)


def read_dialog(path: Path) -> Dialog:
    """Parse one file.

    Raises:
        ValueError: a line is none of a dialog.
    """
    settings: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("# settings:"):
            for word in line.removeprefix("# settings:").split():
                name, _, value = word.partition("=")
                settings[name] = value
        elif line and not line.startswith("#"):
            found = _STEP.fullmatch(line)
            if found is None:
                raise ValueError(f"{path}:{number}: no line of a dialog: {line!r}")
            steps.append(Step(found[1], found[2] or "", number))
    return Dialog(path.stem, settings, tuple(steps))


def _unescaped(text: str) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        code, times = found[1], int(found[2] or 1)
        if code[:1] == b"x":
            return bytes([int(code[1:], 16)]) * times
        if code[:1] == b"u":
            return chr(int(code[1:], 16)).encode() * times
        return _ESCAPES[code] * times

    return _ESCAPE.sub(one, text.encode())


def play(dialog: Dialog, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    """Play a dialog; what the client sends up to the next expectation is cut up by `cut`.

    Raises:
        AssertionError: the engine did something else.
    """
    caller = dialog.caller()
    player = _Player(dialog, caller)
    pending = b""
    if not dialog.settings.keys() & {"before_banner"}:
        caller.greet()
    for step in dialog.steps:
        if step.mark in ("C:", "C>"):
            pending += _unescaped(step.text) + (b"\r\n" if step.mark == "C:" else b"")
            continue
        for piece in cut(pending):
            caller.feed(piece)
        pending = b""
        player.expect(step)
    player.finish(pending)


class _Player:
    """Compares what the engine did, in order, with what stands in the dialog."""

    def __init__(self, dialog: Dialog, caller: Caller) -> None:
        self._dialog = dialog
        self._caller = caller
        self._read = 0  # bytes of replies compared
        self._seen = 0  # events compared

    def _fail(self, step: Step, problem: str) -> None:
        raise AssertionError(f"{self._dialog.name}.smtp:{step.line}: {problem}")

    def _next_line(self, step: Step) -> str:
        rest = self._caller.sent[self._read :]
        line, newline, _ = rest.partition(b"\r\n")
        if not newline:
            self._fail(step, f"expected {step.text!r}, but nothing was said")
        self._read += len(line) + 2
        return line.decode("ascii")

    def expect(self, step: Step) -> None:
        """Compare one expectation."""
        match step.mark:
            case "S:":
                line = self._next_line(step)
                if not line.startswith(step.text):
                    self._fail(step, f"expected {step.text!r}, got {line!r}")
            case "S~":
                line = self._next_line(step)
                if re.fullmatch(step.text, line) is None:
                    self._fail(step, f"expected /{step.text}/, got {line!r}")
            case "S*":
                while (line := self._next_line(step))[3:4] == "-":
                    pass
                if not line.startswith(step.text):
                    self._fail(step, f"expected a reply {step.text!r}, got {line!r}")
            case "E:":
                self._expect_event(step)
            case "X:":
                self._expect_close(step)
            case "T:":
                self._caller.engine.tls_started()
                self._caller.is_tls_active = True
                self._caller.run()
            case "Q:":
                if self._caller.sent[self._read :]:
                    self._fail(step, f"expected silence, got {self._caller.sent[self._read :]!r}")

    def _expect_event(self, step: Step) -> None:
        for event in self._caller.events[self._seen :]:
            self._seen += 1
            if isinstance(event, (Taken, Violation)):
                told = _told(event)
                if told != step.text:
                    self._fail(step, f"expected {step.text!r}, got {told!r}")
                return
        self._fail(step, f"expected {step.text!r}, but nothing happened")

    def _expect_close(self, step: Step) -> None:
        last = self._caller.events[-1] if self._caller.events else None
        if last != Closed(step.text):
            self._fail(step, f"expected the end ({step.text}), got {last}")

    def finish(self, pending: bytes) -> None:
        """Nothing may be left over on either side."""
        rest = self._caller.sent[self._read :]
        end = Step("", "", len(self._dialog.steps))
        if pending:
            self._fail(end, f"the dialog ends with the client speaking: {pending!r}")
        if rest:
            self._fail(end, f"replies not in the dialog: {rest!r}")


def _told(event: Event | Taken) -> str:
    if isinstance(event, Violation):
        return f"violation {event.kind}{' closes' if event.closes else ''}"
    assert isinstance(event, Taken)
    return f"message {event.body!r}"
