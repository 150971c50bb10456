"""What a person at a terminal sees: tables, the progress of a download, a question. The one room of `rich`, which only
the commands that show something load.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200  # characters of a line where no terminal says: a table in a file is not cut


def tell(text: str) -> None:
    print(f"tabby-lsp: {text}", file=sys.stderr)


def say(text: str = "") -> None:
    print(text)


def show_table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    """Columns are a name and how they stand: `left`, `right`; a cell that begins with `!` is emphasised without it."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold", no_wrap=side == "right")
    for row in rows:
        table.add_row(*(Text(cell.removeprefix("!"), style="bold" if cell.startswith("!") else "") for cell in row))
    console.print(table)


@dataclass
class Bar:
    """A bar for so many bytes; without a terminal nothing is drawn."""

    progress: Progress

    def show(self, done: int, total: int) -> None:
        self.progress.update(self.progress.task_ids[0], completed=done, total=total or None)

    def note(self, text: str) -> None:
        self.progress.console.print(Text(text))


@contextmanager
def bar(what: str) -> Iterator[Bar]:
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        progress.add_task(what, total=None)
        yield Bar(progress)


def ask(question: str) -> bool:
    """Yes or no; no where nobody is there to answer."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
