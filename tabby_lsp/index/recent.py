"""What one did lately in an editor: the lines that were edited, and the files that were looked at, the newest first.

Knows files and line numbers and no text. What stands there is asked of the index when it is needed: it has the text as
it is now, unsaved too, and of no file that must not be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tabby_lsp.text import split_lines

MOST_EDITS, MOST_LINES = 16, 20
NEAR_LINES, NEAR_SECONDS = 4, 300.0  # edits that are no farther apart are one
MOST_FILES = 8


@dataclass(frozen=True, slots=True)
class Edit:
    file: Path
    first: int  # its lines, the last one included
    last: int
    seconds: float  # when it was, by some clock; to who asks: how long ago


@dataclass(frozen=True, slots=True)
class RecentWork:
    """What was done until a moment, the newest first."""

    edits: tuple[Edit, ...] = ()
    files: tuple[Path, ...] = ()  # that were looked at, the one that is looked at now included


class Recent:
    """Of one session. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._edits: list[Edit] = []
        self._files: list[Path] = []

    def work_until(self, now: float) -> RecentWork:
        edits = tuple(replace(each, seconds=now - each.seconds) for each in self._edits)
        return RecentWork(edits, tuple(self._files))

    def looked_at(self, file: Path) -> None:
        if self._files[:1] != [file]:
            self._files = [file, *(each for each in self._files if each != file)][:MOST_FILES]

    def edited(self, file: Path, first: int, last: int, text: str, now: float) -> None:
        """`text` took the place of something from one line to another.

        What only takes away or moves lines is no edit of its own: nothing new stands there.
        """
        added = len(split_lines(text)) - 1
        edits = [moved for each in self._edits if (moved := _moved(each, file, first, last, added))]
        if text.strip():
            edit = Edit(file, first, first + added, now)
            near = [each for each in edits if _is_near(each, edit)]
            edits = [_joined(edit, near), *(each for each in edits if each not in near)]
        self._edits = edits[:MOST_EDITS]


def _moved(edit: Edit, file: Path, first: int, last: int, added: int) -> Edit | None:
    """An edit after a change of a file; None if it is gone."""
    grown = added - (last - first)
    if edit.file != file or edit.last < first:
        return edit
    if edit.first > last:
        return replace(edit, first=edit.first + grown, last=edit.last + grown)
    if first <= edit.first and edit.last < last:
        return None
    return replace(edit, first=min(edit.first, first), last=max(edit.last + grown, first + added))


def _is_near(old: Edit, new: Edit) -> bool:
    if old.file != new.file:
        return False
    apart = max(new.first - old.last, old.first - new.last)
    return apart <= 0 or (apart <= NEAR_LINES and new.seconds - old.seconds <= NEAR_SECONDS)


def _joined(edit: Edit, near: list[Edit]) -> Edit:
    """The edit with those near it, as far as there is room for; itself for sure, or its beginning."""
    first = max(min(each.first for each in [edit, *near]), min(edit.first, edit.last - MOST_LINES + 1))
    last = min(max(each.last for each in [edit, *near]), first + MOST_LINES - 1)
    return replace(edit, first=first, last=last)
