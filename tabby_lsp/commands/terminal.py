"""What a person at a terminal sees: tables, the progress of a download, Markdown, a question. The one room of `rich`,
which only the commands that show something load.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
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

from tabby_lsp.chat.thoughts import TEXT, Piece

PIPE_WIDTH = 200  # characters of a line where no terminal says: a table in a file is not cut


def tell(text: str) -> None:
    print(f"tabby-lsp: {text}", file=sys.stderr)


def say(text: str = "") -> None:
    print(text)


def show_table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    """Columns are a name and how they stand: `left`, `right`, or `words` where a cell may take several lines.

    A cell that begins with `!` is emphasised without it.
    """
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name, side in columns:
        words = side == "words"
        justify: Literal["right", "left"] = "right" if side == "right" else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not words, min_width=12 if words else None)
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


class Page:
    """Markdown that is shown while it is written: blocks that are complete stand, the last one is drawn anew."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console, self._live = console, live
        self._rest = ""

    def wait(self, what: str) -> None:
        """Shows what is being waited for, until there is text; where nobody knows, it is the model that reads."""
        if not self._rest:
            self._live.update(Text(what or "reading …", style="dim"))

    def add(self, piece: Piece) -> None:
        if piece.kind != TEXT:
            self.wait("thinking …")
            return
        self._rest += piece.text
        if end := _complete(self._rest):
            self._console.print(_drawn(self._rest[:end]), "")
            self._rest = self._rest[end:]
        self._live.update(_drawn(self._rest))

    def end(self) -> None:
        self._live.update("")
        if self._rest.strip():
            self._console.print(_drawn(self._rest), "")


class Plain:
    """The same where no terminal is: text as it comes."""

    def wait(self, what: str) -> None:
        pass

    def add(self, piece: Piece) -> None:
        if piece.kind == TEXT:
            print(piece.text, end="", flush=True)


@contextmanager
def writing() -> Iterator[Page | Plain]:
    """Where an answer is written to."""
    if not sys.stdout.isatty():
        try:
            yield Plain()
        finally:
            print()
        return
    console = Console(highlight=False)
    # What is longer than the screen is cut while it is written; it stands there whole when it is complete.
    with Live(console=console, transient=True, refresh_per_second=8, vertical_overflow="ellipsis") as live:
        page = Page(console, live)
        page.wait("")
        try:
            yield page
        finally:
            page.end()


def _drawn(text: str) -> Markdown:
    return Markdown(text, hyperlinks=False)


def _complete(text: str) -> int:
    """Where the last block of a Markdown text ends that nothing will be added to: at a blank line outside of code."""
    end = place = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        place += len(line)
        marks = line.rstrip()
        if fence:
            fence = "" if marks.startswith(fence) and not marks.strip(fence[0]) else fence
        elif line.startswith(("```", "~~~")):
            fence = line[: len(line) - len(line.lstrip(line[0]))]
        elif line == "\n":
            end = place
    return end


def ask(question: str) -> bool:
    """Yes or no; no where nobody is there to answer."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
