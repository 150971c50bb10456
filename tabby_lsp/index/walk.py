"""Which files of a folder are worth knowing, and for every other one why not.

What is left out, in this order: names that cannot be told or sent, links, what is no file, secrets, hidden files,
what an ignore file or the settings name, other people's code, and then by size and by the first kilobytes: binary,
generated, minified and mere data. A rule of the user can bring back what is hidden or known by its folder's name,
never a secret.

Ignore rules are git's: of the patterns that match an entry itself the last one decides, a deeper file before a
shallower one, and nothing inside of an ignored folder comes back. `.ignore` and `.tabbyignore` are read like
`.gitignore` and beat it in the same folder; the settings beat all. They hold in folders that git does not know, too.
Where one cannot be read, nobody knows what it names: all of its folder is left out.

Nothing is ever written, no folder is entered by a link, and no program is run. Knows neither what is in the files nor
what becomes of them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.index.contents import HEAD_BYTES, first_bytes, is_secret, why_by_extension, why_by_head
from tabby_lsp.index.ignore import IGNORE_FILES, Layer, UnreadableRules, entered, layers_above, settings_layer, verdict

MOST_BYTES = 1_000_000  # of a file: a module of 25,000 lines; beyond that it is data or generated
MOST_TIME = (1 << 63) - 1  # what a time has room for where it is stored; file systems allow others

VERSION_CONTROL = {".git", ".hg", ".svn", ".jj", ".bzr", "CVS"}
# Hidden, but written by people who will want to complete it: the definitions of continuous integration.
SHOWN = {".github", ".gitlab", ".circleci", ".ci", ".buildkite", ".gitlab-ci.yml", ".travis.yml"}
# Where there is no ignore file, as there is none in a folder that git does not know, these would drown the rest.
OTHERS_FOLDERS = {"node_modules", "bower_components", "__pycache__", "site-packages"}
# A folder that holds such a file says itself what it is: cargo, pytest, mypy and others leave the second one.
MARKERS = {"pyvenv.cfg": "a virtual environment", "CACHEDIR.TAG": "a cache"}
# Line ends and other control characters, and the surrogates that stand for bytes which are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user settled: patterns as in a `.gitignore` of the root, and how large a file may be."""

    ignore: tuple[str, ...] = ()
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without opening a file, that it has changed."""

    mtime_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    path: str  # from the root, with "/" on every system
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a folder with all that is in it. There are few different reasons, so that they can be counted."""

    path: str  # as in Found; escaped if it could not be printed
    reason: str


def walk(
    root: Path, rules: Rules, unchanged: Callable[[str, Stamp], bool] = lambda path, stamp: False
) -> Iterator[Found | Skipped]:
    """All files of a folder by name, those of a folder before its subfolders.

    Files that `unchanged` knows are found without being opened. What vanishes meanwhile is passed over.
    """
    settings = settings_layer(rules.ignore)
    try:
        waiting = [("", layers_above(root))]
    except UnreadableRules as error:
        yield Skipped(".", str(error))
        return
    while waiting:
        folder, layers = waiting.pop()
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not folder or not isinstance(error, FileNotFoundError):
                yield Skipped(folder or ".", "not readable")
            continue
        names = {entry.name for entry in entries}
        marker = next((why for file, why in MARKERS.items() if file in names), "") if folder else ""
        if marker:
            yield Skipped(folder, marker)
            continue
        try:
            layers = entered(root / folder, names, folder, "", layers)
        except UnreadableRules as error:
            yield Skipped(_printable(folder) or ".", str(error))
            continue
        below = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                reason = _why_by_kind(entry) or _why_by_name(path, is_folder, (settings, *layers))
                if is_folder and not reason:
                    below.append((path, layers))
                elif reason:
                    yield Skipped(_printable(path), reason)
                else:
                    yield _judged(path, entry, entry.stat(follow_symlinks=False), rules, unchanged)
            except FileNotFoundError:
                continue
            except OSError:
                yield Skipped(_printable(path), "not readable")
        waiting += reversed(below)


def why_skipped(root: Path, path: str, rules: Rules, unsaved: bool = False) -> str:
    """Why one file, given by its path from the root with "/", would not be found by `walk`; "" if it would be.

    One that is `unsaved` may not be there, nor its folders: it is then asked for as if they were.
    """
    parts = path.split("/")
    if os.path.isabs(path) or any(part in ("", ".", "..") for part in parts):
        return "outside of the folder"
    settings = settings_layer(rules.ignore)
    special = {*MARKERS, *IGNORE_FILES, ".git"}
    try:
        layers = layers_above(root)
        for depth in range(len(parts)):
            folder = "/".join(parts[:depth])
            names = {name for name in special if os.path.lexists(root / folder / name)}
            marker = next((why for file, why in MARKERS.items() if file in names), "") if folder else ""
            if marker:
                return marker
            layers = entered(root / folder, names, folder, "", layers)
            here, is_last = "/".join(parts[: depth + 1]), depth + 1 == len(parts)
            if unsaved and not os.path.lexists(root / here):
                reason = _why_by_letters(parts[depth]) or _why_by_name(here, not is_last, (settings, *layers))
                if reason or is_last:
                    return reason
                continue
            entry = _Entry(root / here)
            is_folder = entry.is_dir(follow_symlinks=False)
            reason = _why_by_kind(entry) or _why_by_name(here, is_folder, (settings, *layers))
            if reason or is_folder == is_last:
                return reason or ("a folder" if is_folder else "not there")
        judged = _judged(path, entry, entry.stat(follow_symlinks=False), rules, lambda path, stamp: False)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a path with a NUL in it
        return "not there"
    except OSError:
        return "not readable"
    except UnreadableRules as error:
        return str(error)
    return judged.reason if isinstance(judged, Skipped) else ""


def read(path: Path, most_bytes: int = MOST_BYTES) -> str | None:
    """A file's text for indexing; None if it has vanished, or is by now no file, too large or not readable.

    It is UTF-8: a mark at the beginning is dropped, and bytes that are not become U+FFFD.
    """
    try:
        content = first_bytes(path, most_bytes + 1)
    except OSError:
        return None
    return content.decode("utf-8-sig", "replace") if len(content) <= most_bytes else None


class _Entry:
    """The part of os.DirEntry that is used here, for one path."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.name
        self._status = os.lstat(path)

    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self._status.st_mode)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISREG(self._status.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self._status


def _why_by_kind(entry: os.DirEntry[str] | _Entry) -> str:
    reason = _why_by_letters(entry.name)
    if reason:
        return reason
    if entry.is_symlink() or _is_junction(entry):
        return "a link"  # a file inside is found anyway, and what is outside is no part of this folder
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        return "not a file"  # a socket, a pipe or a device: opening one may wait forever, or do something
    return ""


def _why_by_letters(name: str) -> str:
    return "a name that cannot be printed" if _UNPRINTABLE.search(name) else ""


def _is_junction(entry: os.DirEntry[str] | _Entry) -> bool:
    if sys.platform != "win32":
        return False
    return entry.stat(follow_symlinks=False).st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT


def _why_by_name(path: str, is_folder: bool, layers: tuple[Layer, ...]) -> str:
    name = path.rpartition("/")[2]
    if name in VERSION_CONTROL:
        return "version control"
    if not is_folder and is_secret(path):
        return "a secret"
    ignored, source = verdict(path, name, is_folder, layers)
    if ignored:
        return f"ignored by {source}"
    if ignored is None and name.startswith(".") and name not in SHOWN:
        return "hidden"
    if is_folder:
        return "other people's code" if ignored is None and name in OTHERS_FOLDERS else ""
    return why_by_extension(name)


def _judged(
    path: str,
    entry: os.DirEntry[str] | _Entry,
    status: os.stat_result,
    rules: Rules,
    unchanged: Callable[[str, Stamp], bool],
) -> Found | Skipped:
    """What only the file itself can tell. Raises OSError."""
    stamp = Stamp(status.st_mtime_ns & MOST_TIME, status.st_size)
    if status.st_size > rules.most_bytes:
        return Skipped(path, "too large")
    if status.st_size and not unchanged(path, stamp):
        reason = why_by_head(first_bytes(entry.path, HEAD_BYTES), entry.name)
        if reason:
            return Skipped(path, reason)
    return Found(path, stamp)


def _printable(path: str) -> str:
    return ascii(path)[1:-1] if _UNPRINTABLE.search(path) else path
