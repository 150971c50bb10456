"""Keeps a store as the folders and an editor's buffers are: whole scans in small steps, single files at once.

A buffer counts before the disk for as long as it is open. A text at which the process died twice is not read again:
once may have been somebody's impatience. Knows neither pipes nor threads nor when something is due.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from tabby_lsp.index import walk
from tabby_lsp.index.contents import HEAD_BYTES, why_by_head
from tabby_lsp.index.entry import Entry, prepare
from tabby_lsp.index.ignore import IGNORE_FILES
from tabby_lsp.index.plan import FileKey, IndexState, Omission, Plan, others_inside
from tabby_lsp.index.store import Store
from tabby_lsp.index.walk import Found, Rules, Skipped, Stamp
from tabby_lsp.languages import language_of_path
from tabby_lsp.processes import machine

MOST_BATCH_BYTES = 100_000  # of files that are written together: some tens of milliseconds
COUNT_SECONDS = 3.0  # in which files are counted before they are read: some 100,000 of them
ENTRIES_A_STEP = 200  # of a walk over files that have not changed
# After which a process that is still at one file ends. Parses have their own, far shorter limit; the longest that a
# file may take in good order is the store's patience with other writers.
FILE_SECONDS = 90
DEATHS = 2
MOST_EXAMPLES = 3
CRASHED = "crashed the parser"

_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Tally:
    """What a scan has left out so far."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(path)

    def omissions(self) -> tuple[Omission, ...]:
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Omission(reason, count, tuple(self.examples[reason])) for reason, count in ordered)


class Upkeep:
    """Of one store. `reading` is told, before a text is read, what to blame if that is the end of the process."""

    def __init__(self, plan: Plan, reading: Callable[[str], None], deaths: Mapping[str, int]) -> None:
        """Raises NoFile as `Store.open` does, and so may every method."""
        self.store = Store.open(Path(plan.database))
        self.state = IndexState(scanning=True)
        self.done = self.total = 0
        self.first = False  # whether the scan is one that reads everything
        self._plan = plan
        self._rules = {
            folder: Rules((*plan.ignore, *others_inside(folder, plan.folders)), plan.most_bytes)
            for folder in plan.folders
        }
        self._reading = reading
        self._crashing = _Crashing(Path(plan.database + ".crashed"), deaths)
        self._buffers: dict[FileKey, tuple[str, str]] = {}  # language and text
        self._batch: dict[FileKey, Entry] = {}  # of a scan, not written yet
        self._rebuilt = 0

    # --- scans

    def scan(self) -> Iterator[None]:
        """Looks at everything, step by step; between two steps anything else may be done."""
        started = time.monotonic()
        tally = _Tally()
        self.done = self.total = 0
        self.first = self.store.counts().files <= len(self._buffers)  # nothing yet from the disk
        if self.first:
            yield from self._count()
        for folder in self._plan.folders:
            yield from self._scan_folder(folder, tally)
        for (folder, path), (_, text) in list(self._buffers.items()):
            if self._why_no_buffer(folder, path, text):  # by now: the rules may have changed
                self.closed(folder, path)
        self.put_buffers()
        self.state = IndexState(skipped=tally.omissions(), seconds=time.monotonic() - started)
        self.refresh()

    def _count(self) -> Iterator[None]:
        """How many files there are, for the progress of a long scan; 0 if that would take long. None is opened."""
        until = time.monotonic() + COUNT_SECONDS
        for folder in self._plan.folders:
            for number, each in enumerate(walk.walk(Path(folder), self._rules[folder], lambda path, stamp: True)):
                self.total += isinstance(each, Found)
                if number % ENTRIES_A_STEP == 0:
                    yield
                    if time.monotonic() > until:
                        self.total = 0
                        return

    def _scan_folder(self, folder: str, tally: _Tally) -> Iterator[None]:
        root, seen, size = Path(folder), set[str](), 0

        def unchanged(path: str, stamp: Stamp) -> bool:
            return (folder, path) in self._buffers or self.store.stamp_of(root, path) == stamp

        for number, each in enumerate(walk.walk(root, self._rules[folder], unchanged)):
            if number % ENTRIES_A_STEP == 0:
                yield
            if isinstance(each, Skipped):
                tally.add(each.reason, each.path)
                continue
            self.done += 1
            reason = ""
            if not unchanged(each.path, each.stamp):
                yield
                reason = self._take(folder, each.path, each.stamp)
                size += each.stamp.size
            if reason:
                tally.add(reason, each.path)
            else:
                seen.add(each.path)
            if size > MOST_BATCH_BYTES:
                self._write_batch()
                size = 0
        self._write_batch()
        self.store.forget_missing(root, seen)

    def _take(self, folder: str, path: str, stamp: Stamp) -> str:
        """Reads a file into the batch. Why that could not be done, "" if it could."""
        text = walk.read(Path(folder, path), self._plan.most_bytes)
        if text is None:
            return "not readable"  # by now
        entry = self._guarded(text, partial(prepare, path, language_of_path(path), text, stamp))
        if entry is None:
            return CRASHED
        self._batch[folder, path] = entry
        return ""

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, {}
        for folder in {folder for folder, _ in batch}:
            self.store.put_all(Path(folder), [entry for place, entry in batch.items() if place[0] == folder])

    def _guarded(self, text: str, work: Callable[[], _Result]) -> _Result | None:
        """Does what may be the end of the process; None if it is known to be."""
        mark = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if mark in self._crashing:
            return None
        self._reading(mark)
        # A grammar that never returns keeps every thread of Python from running, but not this one, which is none.
        faulthandler.dump_traceback_later(FILE_SECONDS, exit=True)
        try:
            return work()
        finally:
            faulthandler.cancel_dump_traceback_later()

    # --- single files

    def changed(self, folder: str, path: str) -> bool:
        """Looks at one file of the disk. Whether a scan has to say what became of it.

        Of a folder that was deleted or renamed, an editor may tell no more than the name that it had.
        """
        self._batch.pop((folder, path), None)
        if folder not in self._rules or (folder, path) in self._buffers:
            return False
        reason = walk.why_skipped(Path(folder), path, self._rules[folder])
        if reason != "a folder":
            for place in [each for each in self._batch if each[0] == folder and each[1].startswith(path + "/")]:
                del self._batch[place]
            self.store.remove(Path(folder), path, below=not reason)
        if not reason:
            self._put(folder, path)
        return reason == "a folder" or path.rpartition("/")[2] in IGNORE_FILES

    def _put(self, folder: str, path: str) -> None:
        try:
            status = os.stat(Path(folder, path), follow_symlinks=False)
        except OSError:
            return  # its end will be told as well
        stamp = Stamp(status.st_mtime_ns & walk.MOST_TIME, status.st_size)
        text = walk.read(Path(folder, path), self._plan.most_bytes)
        if text is not None:
            self._guarded(text, partial(self.store.put, Path(folder), path, language_of_path(path), text, stamp))
            self._reading("")

    def buffer(self, folder: str, path: str, language: str, text: str) -> None:
        """What stands in an editor, if the file is one that would be indexed."""
        self._batch.pop((folder, path), None)
        if folder in self._rules and not self._why_no_buffer(folder, path, text):
            self._buffers[folder, path] = (language, text)
            self._put_buffer(folder, path)
        elif self._buffers.pop((folder, path), None):
            self.store.drop_buffer(Path(folder), path)

    def _why_no_buffer(self, folder: str, path: str, text: str) -> str:
        data = text.encode("utf-8", "replace")
        if len(data) > self._plan.most_bytes:
            return "too large"
        reason = walk.why_skipped(Path(folder), path, self._rules[folder], unsaved=True)
        return reason or why_by_head(data[:HEAD_BYTES], path.rpartition("/")[2])

    def _put_buffer(self, folder: str, path: str) -> None:
        language, text = self._buffers[folder, path]
        if self._guarded(text, partial(self.store.put_buffer, Path(folder), path, language, text)) is None:
            self.store.drop_buffer(Path(folder), path)
        self._reading("")

    def closed(self, folder: str, path: str) -> None:
        """The disk counts again."""
        if self._buffers.pop((folder, path), None) is not None:
            self.store.drop_buffer(Path(folder), path)
            self.changed(folder, path)

    # --- now and then

    def look(self) -> bool:
        """Whether the file is not what we left, so that all has to be put again: deleted, or written over."""
        self.store.look()
        self.put_buffers()
        again = self.store.rebuilt != self._rebuilt
        self._rebuilt = self.store.rebuilt
        return again

    def put_buffers(self) -> None:
        """Those that are gone: a second server drops all as it begins. Where it has the same file open, the text that
        came last counts: two that put theirs back in turn would never come to an end.
        """
        for folder, path in list(self._buffers):
            if not self.store.has_buffer(Path(folder), path):
                self._put_buffer(folder, path)

    def refresh(self) -> None:
        """Counts what there is. Costs some time in a large index."""
        self._reading("")
        counts = self.store.counts()
        self.state = IndexState(
            counts.files,
            counts.lines,
            counts.symbols,
            counts.chunks,
            self.state.skipped,
            self.state.seconds,
            note=self.store.reason,
        )

    def forgive(self) -> None:
        """What crashed the parser may try again."""
        self._crashing.forgive()

    def close(self) -> None:
        """The disk counts again for what is open, so that others find it until this runs again."""
        for folder, path in list(self._buffers):
            self.closed(folder, path)
        self.store.close()


class _Crashing:
    """The marks of texts that are not read, kept beside the index. Where they cannot be kept, they are of this run."""

    def __init__(self, path: Path, deaths: Mapping[str, int]) -> None:
        self._path = path
        known = self._kept()
        self._marks = known | {mark for mark, count in deaths.items() if count >= DEATHS}
        if self._marks != known:
            self._keep()

    def __contains__(self, mark: str) -> bool:
        return mark in self._marks

    def forgive(self) -> None:
        self._marks.clear()
        self._keep()

    def _kept(self) -> set[str]:
        try:
            marks = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return set()
        return {mark for mark in marks if isinstance(mark, str)} if isinstance(marks, list) else set()

    def _keep(self) -> None:
        try:
            machine.private_folder(self._path.parent)
            machine.private_file(self._path)
            self._path.write_text(json.dumps(sorted(self._marks)), encoding="utf-8")
        except OSError:
            pass
