"""`tabby-lsp index` and `tabby-lsp search`: what they show. How it is found is the business of `index`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tabby_lsp.index.answer import Answer, answer
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.current import Current, rules_of
from tabby_lsp.index.map import Entry, repository_map
from tabby_lsp.index.pieces import head
from tabby_lsp.index.plan import IndexState, Plan, plan
from tabby_lsp.index.question import question
from tabby_lsp.index.search import Search
from tabby_lsp.index.shelf import delete, held, of_folder
from tabby_lsp.settings import Settings

Show = Callable[[str], None]

REFRESH_SECONDS = 5.0  # before a question is asked; a tree that is unchanged takes one for some 10,000 files


class NoIndex(Exception):
    """There is no index to be had; the text says what to do."""


async def show_index(folder: str, settings: Settings, verbose: bool, progress: Show, show: Show) -> None:
    """Brings the index of a folder up to date and shows what is in it. Raises NoIndex."""
    wanted = _plan(folder, settings)
    state = await _build(wanted, progress)
    table = [("" if number else "folder", folder, "") for number, folder in enumerate(wanted.folders)]
    table += [
        ("files", f"{state.files:,}", ""),
        ("symbols", f"{state.symbols:,}", ""),
        ("chunks", f"{state.chunks:,}", ""),
        ("lines", f"{state.lines:,}", ""),
        ("seconds", f"{state.seconds:.1f}", ""),
    ]
    for each in state.skipped:
        table.append(("skipped", f"{each.count:,}", each.reason))
        if verbose:
            table += [("", "", f"  {example}") for example in each.examples]
    for name, value, rest in table:
        show(f"{name:<9} {value if not rest else f'{value:>7}  {rest}'}".rstrip())
    if state.note:
        show(f"{'note':<9} {state.note}")


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and what one should know of it."""

    answer: Answer
    refreshed: bool  # whether all files were looked at again before
    notes: tuple[str, ...]


def show_indexes(show: Show) -> None:
    """Every index that there is, and where they lie."""
    indexes = held()
    for each in indexes:
        folders = ", ".join(each.folders) or f"cannot be read: {each.database.name}"
        gone = "" if all(map(os.path.isdir, each.folders)) else "  (not there)"
        show(f"{each.bytes / 1e6:>8.1f} MB {each.files:>8,} files  {_ago(each.written)}  {folders}{gone}")
    place = f" in {indexes[0].database.parent}" if indexes else ""
    show(f"{sum(each.bytes for each in indexes) / 1e6:>8.1f} MB in all{place}")


def forget_index(folder: str, show: Show) -> None:
    """Deletes the indexes that hold a folder. Raises NoIndex if there is none, or if one cannot be deleted."""
    indexes = of_folder(Path(folder))
    if not indexes:
        raise NoIndex(f"There is no index of {folder}: `tabby-lsp index --list` shows those that there are.")
    for each in indexes:
        try:
            delete(each.database)
        except OSError as error:
            raise NoIndex(
                f"{each.database} cannot be deleted ({error.strerror}): close the editors that use it."
            ) from None
        show(f"The index of {', '.join(each.folders)} is forgotten ({each.bytes / 1e6:.1f} MB).")


async def find(query: str, folder: str, settings: Settings, limit: int, progress: Show) -> Found:
    """Brings the index of a folder up to date, for some seconds at most if there is one, and asks it.

    Raises NoIndex and BadQuestion.
    """
    question(query)  # what cannot be asked is said at once
    wanted = _plan(folder, settings)
    rules = rules_of(wanted)
    said, late = await _asked(wanted, progress, lambda search: answer(search, query, limit, rules))
    return Found(said, not late, tuple(filter(None, (late, said.note))))


async def show_map(folder: str, settings: Settings, tokens: int, progress: Show, show: Show) -> str:
    """Shows the files and definitions that the rest of a folder uses most; what one should know of that.

    Raises NoIndex.
    """
    wanted = _plan(folder, settings)

    def mapped(search: Search) -> list[str]:
        current = Current(rules_of(wanted))
        shown = []
        for each in repository_map(search.files(), tokens):
            heads = [line for entry in each.entries for line in _head(entry, current.line_of(each.file, entry.symbol))]
            shown += [_shown_path(*each.file, folder), *heads] if heads else []
        return shown

    said, late = await _asked(wanted, progress, mapped)
    for line in said:
        show(line)
    return late


def _head(entry: Entry, line: int | None) -> list[str]:
    """What is shown of a definition; nothing of one that is gone."""
    first, *rest = head(entry.symbol).split("\n")
    indent = "    " * entry.depth
    return [] if line is None else [f"{line + 1:>6}  {indent}{first}", *(f"{'':>6}  {indent}{each}" for each in rest)]


_Said = TypeVar("_Said")


async def _asked(wanted: Plan, progress: Show, ask: Callable[[Search], _Said]) -> tuple[_Said, str]:
    """What is said of an index that was just brought up to date; and why it is not, if that took too long."""
    async with refreshed(wanted, progress) as late:
        search = Search(Path(wanted.database))
        try:
            return await asyncio.to_thread(ask, search), late
        finally:
            search.close()


@asynccontextmanager
async def refreshed(wanted: Plan, progress: Show) -> AsyncIterator[str]:
    """An index that was just brought up to date, and is kept so until the end; why it is not, if that takes too long.

    Raises NoIndex.
    """
    age = _age(Path(wanted.database))
    indexer, over = _started(wanted, progress)
    late = ""
    try:
        try:
            await asyncio.wait_for(over.wait(), REFRESH_SECONDS if age else None)
        except asyncio.TimeoutError:
            late = f"The index is still being refreshed: what is newer than it ({age}) may be missing."
        if indexer.down:
            raise NoIndex(indexer.state.note)
        yield late
    finally:
        await indexer.close()


def _age(database: Path) -> str:
    """When an index was last written, for people; "" if there is none."""
    times = [each.stat().st_mtime for each in (database, Path(f"{database}-wal")) if each.exists()]
    return _ago(max(times)) if times else ""


def _ago(seconds: float) -> str:
    minutes = int((time.time() - seconds) / 60)
    for unit, length in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= 2 * length:
            return f"{minutes // length} {unit}s ago"
    return "just now"


def in_lines(found: Found, folder: str, colour: bool) -> Iterator[str]:
    """`path:line: text` for each citation, as editors and terminals jump to."""
    for each in found.answer.citations:
        place, line = _shown_path(each.root, each.path, folder), str(each.line + 1)
        text = each.text.splitlines()[each.line - each.first] if each.text else ""
        # A file may hold what a terminal takes for commands.
        text = "".join(char if char.isprintable() else "�" for char in text.strip().expandtabs(4))
        if colour:  # grep's
            place, line = f"\x1b[35m{place}\x1b[0m", f"\x1b[32m{line}\x1b[0m"
        yield f"{place}:{line}: {text}"


def in_json(found: Found, query: str) -> dict[str, Any]:
    """For scripts. Lines are counted from 1."""
    rows = [asdict(each) for each in found.answer.citations]
    for row in rows:
        row |= {name: row[name] + 1 for name in ("first", "last", "line")}
    return {"question": query, "refreshed": found.refreshed, "notes": list(found.notes), "citations": rows}


def _plan(folder: str, settings: Settings) -> Plan:
    path = Path(os.path.abspath(folder))
    if not path.is_dir():
        raise NoIndex(f"{folder} is not a folder: name one.")
    wanted, note = plan([path], settings.index, languages=settings.additional_languages)
    if wanted is None:
        raise NoIndex(f"{note} Name the folder of a project.")
    return wanted


async def _build(wanted: Plan, progress: Show) -> IndexState:
    indexer, over = _started(wanted, progress)
    try:
        await over.wait()
    finally:
        await indexer.close()
    if indexer.down:
        raise NoIndex(indexer.state.note)
    return indexer.state


def _started(wanted: Plan, progress: Show) -> tuple[Indexer, asyncio.Event]:
    """An indexer, and what is set when it has looked at everything."""
    over = asyncio.Event()

    def follow(state: IndexState) -> None:
        if not state.scanning:
            over.set()
        elif state.done:
            total = f" of {state.total}" if state.total else ""
            progress(f"{state.done}{total} files")

    indexer = Indexer(wanted, follow)
    indexer.start()
    return indexer, over


def _shown_path(root: str, path: str, folder: str) -> str:
    """As one would name it from where one stands, if it lies in the folder that was named."""
    if Path(root) == Path(os.path.realpath(folder)):
        return os.path.normpath(os.path.join(folder, path))
    return str(Path(root, path))
