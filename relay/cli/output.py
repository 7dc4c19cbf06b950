"""How commands speak: for people on a terminal, in JSON for programs, mistakes on standard error.

It knows nothing of mail. rich is imported when something is to be shown, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

__all__ = ["console", "emit", "fail", "progress", "table"]

_PIPE_WIDTH = 200
"""Columns where there is no terminal: tables in a pipe or a log must not cut digests in two."""


def console(*, errors: bool = False) -> Console:
    """Return a console that prints text as it is: an address in brackets is no markup."""
    from rich.console import Console

    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(
        file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True
    )


def emit(value: object, *, as_json: bool, human: Callable[[Console], None]) -> None:
    """Answer a command: `value` as JSON on standard output, or what `human` prints.

    Args:
        value: what orjson can write; anything else in it is written as its `str()`.
        as_json: the command's `--json`.
        human: prints the same for people.
    """
    if not as_json:
        human(console())
        return
    import orjson

    option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    typer.echo(orjson.dumps(value, default=str, option=option).decode())


def fail(text: str, code: int = 1) -> NoReturn:
    """Say one line on standard error and end with `code` (1: a no, 2: the operator's mistake)."""
    typer.echo(text, err=True)
    raise typer.Exit(code)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table for `Console.print`; None becomes an empty cell."""
    from rich import box
    from rich.table import Table

    made = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show that something goes on, on a terminal's standard error; nothing elsewhere.

    Gives a function that changes the text.
    """
    with console(errors=True).status(text) as status:
        yield status.update
