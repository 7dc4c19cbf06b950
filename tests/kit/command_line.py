"""The command `gatepost` in this process: arguments in; exit code, output and errors out."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest import mock

import orjson

from relay.cli.main import main


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The output of `--json`."""
        return orjson.loads(self.output)


def gatepost(*arguments: object) -> Outcome:
    """Run a command to its end, as a shell without a terminal would."""
    output, errors = io.StringIO(), io.StringIO()
    argv = ["gatepost", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, output.getvalue(), errors.getvalue())
