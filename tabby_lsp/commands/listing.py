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

from tabby_lsp.index.answer import LATE, Answer, answer
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.current import Current, rules_of
from tabby_lsp.index.map import Entry, repository_map
from tabby_lsp.index.pieces import head
from tabby_lsp.index.plan import IndexState, Plan, plan
from tabby_lsp.index.question import question
from tabby_lsp.index.search import MOST_WEIGHED, Search
from tabby_lsp.index.shelf import delete, held, of_folder
from tabby_lsp.settings import Settings

Show = Callable[[str], None]

_MANY = f"Only the first {MOST_WEIGHED:,} files by path were weighed: name a folder of it for the others."
REFRESH_SECONDS = 5.0  # before a question is asked; a tree that is unchanged takes one for some 10,000 files
FIRST_SECONDS = 60.0  # where there is no index yet; 30,000 small files


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
        old = "  (of another version: it is made anew when it is used)" if each.folders and not each.current else ""
        show(f"{each.bytes / 1e6:>8.1f} MB {each.files:>8,} files  {ago(each.written)}  {folders}{gone}{old}")
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

    def mapped(search: Search) -> tuple[list[str], list[str]]:
        files = search.files()
        found = repository_map(files, tokens)
        current = Current(rules_of(wanted))  # whose time begins here
        shown = []
        for each in found:
            heads = [line for entry in each.entries for line in _head(entry, current.line_of(each.file, entry.symbol))]
            shown += [_shown_path(*each.file, folder), *heads] if heads else []
        return shown, [*([_MANY] if len(files) == MOST_WEIGHED else []), *([LATE] if current.late else [])]

    (said, notes), late = await _asked(wanted, progress, mapped)
    for line in said:
        show(line)
    return " ".join(filter(None, [late, *notes]))


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
    search = Search(Path(wanted.database))
    scanned = search.scanned()
    search.close()
    indexer, over = _started(wanted, progress)
    late = ""
    try:
        try:
            await asyncio.wait_for(over.wait(), REFRESH_SECONDS if scanned else FIRST_SECONDS)
        except asyncio.TimeoutError:
            late = _why_late(scanned, indexer.state)
        if indexer.down:
            raise NoIndex(indexer.state.note)
        yield late
    finally:
        await indexer.close()


def _why_late(scanned: float | None, state: IndexState) -> str:
    if scanned:
        return f"The index is {_old(scanned)}: what is newer may be missing. `tabby-lsp index` refreshes all of it."
    of_all = f" of {state.total:,}" if state.total else ""
    return f"The index holds {state.done:,}{of_all} files so far: `tabby-lsp index` reads the others, too."


def ago(seconds: float) -> str:
    """How long ago a moment was, for people; in seconds since 1970."""
    age = _age(seconds)
    return f"{age} ago" if age else "just now"


def _old(seconds: float) -> str:
    age = _age(seconds)
    return f"{age} old" if age else "a moment old"


def _age(seconds: float) -> str:
    """How long ago a moment was; "" if that is not worth telling."""
    minutes = int((time.time() - seconds) / 60)
    for unit, length in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= 2 * length:
            return f"{minutes // length} {unit}s"
    return ""


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
