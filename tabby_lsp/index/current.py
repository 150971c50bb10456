"""Files as they are at this moment, beside what is indexed of them. Each is read once, and only as the rules allow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabby_lsp.index.entry import Entry, digest, prepare, storable
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.passages import Passage, passages_of
from tabby_lsp.index.plan import FileKey, Plan, others_inside
from tabby_lsp.index.walk import Rules, Stamp, read, why_skipped
from tabby_lsp.text import split_lines

CHECK_SECONDS = 3.0  # in which files are compared and read anew


def rules_of(plan: Plan) -> dict[str, Rules]:
    """Of each folder that is indexed: what of it is left out."""
    folders = plan.folders
    return {each: Rules((*plan.ignore, *others_inside(each, folders)), plan.most_bytes) for each in folders}


class Current:
    """For one answer."""

    def __init__(self, rules: Mapping[str, Rules], seconds: float | None = None) -> None:
        """`rules` are those of each root that is indexed; what is in no such root is not cited."""
        self.late = False  # whether some files could not be looked at in time
        self._rules = rules
        self._until = time.monotonic() + (CHECK_SECONDS if seconds is None else seconds)
        self._texts: dict[FileKey, str | None] = {}
        self._entries: dict[FileKey, Entry] = {}

    def is_so(self, passage: Passage) -> bool:
        """Whether a passage stands in its file as it says. What is unsaved is so: an editor says it."""
        if passage.unsaved:
            return True
        text = self._text((passage.root, passage.path))
        return text is not None and digest(storable(text)) == passage.hash

    def line_of(self, file: FileKey, symbol: Symbol) -> int | None:
        """Where the head of a definition stands in its file; None if it does not, or no longer."""
        lines = split_lines(self._text(file) or "")
        said = symbol.signature.partition("\n")[0].strip() or symbol.name
        below, above = range(symbol.first, len(lines)), range(min(symbol.first, len(lines)))
        return next((number for number in (*below, *above) if said in lines[number]), None)

    def passages(self, indexed: Sequence[Passage]) -> list[Passage]:
        """Those of a file of which some are given; all of it if it has changed, none if it is not to be cited."""
        if all(self.is_so(each) for each in indexed):
            return list(indexed)
        first = indexed[0]
        text = self._text((first.root, first.path))
        if text is None:
            return []
        entry = self._entries.get((first.root, first.path)) or prepare(first.path, first.language, text, Stamp(-1, -1))
        self._entries[first.root, first.path] = entry
        return passages_of(first.root, entry)

    def _text(self, file: FileKey) -> str | None:
        """None of a file that is gone, left out by the rules as they are now, or not looked at in time."""
        if file not in self._texts:
            self._texts[file] = self._read(*file)
        return self._texts[file]

    def _read(self, root: str, path: str) -> str | None:
        rules = self._rules.get(root)
        if rules is None or why_skipped(Path(root), path, rules):
            return None
        if time.monotonic() > self._until:
            self.late = True
            return None
        return read(Path(root, path), rules.most_bytes)
