"""`tabby-lsp index` and `tabby-lsp search`: what they show. How it is found is the business of `index`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

from tabby_lsp.index.client import Indexer
from tabby_lsp.index.plan import IndexState, Plan, plan
from tabby_lsp.index.search import Hit, Search
from tabby_lsp.settings import Settings

Show = Callable[[str], None]


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


async def show_hits(query: str, folder: str, settings: Settings, limit: int, progress: Show, show: Show) -> bool:
    """Shows what is called like the query, and then what is like it. Whether there was anything. Raises NoIndex."""
    wanted = _plan(folder, settings)
    path = Path(wanted.database)
    if not path.exists():
        await _build(wanted, progress)
    search = Search(path)
    try:
        definitions = search.definitions(query, limit)
        hits = definitions + [hit for hit in search.find(query, limit) if not _is_shown(hit, definitions)]
    finally:
        search.close()
    for hit in hits[:limit]:
        line, text = _telling_line(hit, query)
        show(f"{_shown_path(hit, folder)}:{line + 1}: {text}")
    return bool(hits)


def _plan(folder: str, settings: Settings) -> Plan:
    path = Path(os.path.abspath(folder))
    if not path.is_dir():
        raise NoIndex(f"{folder} is not a folder: name one.")
    wanted, note = plan([path], settings.index, languages=settings.additional_languages)
    if wanted is None:
        raise NoIndex(f"{note} Name the folder of a project.")
    return wanted


async def _build(wanted: Plan, progress: Show) -> IndexState:
    over = asyncio.Event()

    def follow(state: IndexState) -> None:
        if not state.scanning:
            over.set()
        elif state.done:
            total = f" of {state.total}" if state.total else ""
            progress(f"{state.done}{total} files")

    indexer = Indexer(wanted, follow)
    indexer.start()
    try:
        await over.wait()
    finally:
        await indexer.close()
    if indexer.down:
        raise NoIndex(indexer.state.note)
    return indexer.state


def _is_shown(hit: Hit, definitions: list[Hit]) -> bool:
    return any(
        (hit.root, hit.path) == (each.root, each.path) and each.first <= hit.first and hit.last <= each.last
        for each in definitions
    )


def _telling_line(hit: Hit, query: str) -> tuple[int, str]:
    """The first line that holds a word of the query, or else the first one with any text."""
    words = re.findall(r"\w+", query.lower())
    lines = hit.text.splitlines() or [""]
    whole = (number for number, line in enumerate(lines) if all(word in line.lower() for word in words))
    some = (number for number, line in enumerate(lines) if any(word in line.lower() for word in words))
    any_text = (number for number, line in enumerate(lines) if line.strip())
    number = next(whole, next(some, next(any_text, 0)))
    return hit.first + number, lines[number].strip()


def _shown_path(hit: Hit, folder: str) -> str:
    """As one would name it from where one stands, if it lies in the folder that was named."""
    if Path(hit.root) == Path(os.path.abspath(folder)):
        return os.path.normpath(os.path.join(folder, hit.path))
    return str(Path(hit.root, hit.path))
