"""What is indexed, where the index lies, and what there is to tell of it: the types between an indexer and who runs it.

Knows no SQLite and opens no file, since the server imports it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp import config
from tabby_lsp.data import AdditionalLanguage
from tabby_lsp.processes import machine
from tabby_lsp.settings import IndexSettings

FileKey = tuple[str, str]  # folder and path in it


@dataclass(frozen=True, slots=True)
class Plan:
    """What an indexer is started with."""

    database: str
    folders: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    most_bytes: int = 1_000_000
    watched: bool = False  # whether the client says which files change
    languages: tuple[AdditionalLanguage, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # folders as an editor names them that are links, and what they are

    def real(self, path: Path) -> Path:
        """A file by the name of the folder that it is in, whatever link an editor goes by. Does not ask the disk."""
        place = place_of(path, [link for link, _ in self.links])
        return Path(dict(self.links)[place[0]], place[1]) if place else path

    def place_of(self, path: Path) -> FileKey | None:
        """The folder that holds a file, and the file's path from there with "/"."""
        return place_of(self.real(path), self.folders)


@dataclass(frozen=True, slots=True)
class Omission:
    """Files that were left out for one reason, or folders with all that is in them."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexState:
    files: int = 0
    lines: int = 0
    symbols: int = 0
    chunks: int = 0
    skipped: tuple[Omission, ...] = ()  # in the last scan that came to its end, the most frequent first
    seconds: float = 0.0  # which that scan took
    scanning: bool = False
    done: int = 0  # files of the scan that is under way
    total: int = 0  # which it will be; 0 if nobody knows
    note: str = ""  # why something is not as it should be


def plan(
    workspace: Sequence[Path],
    settings: IndexSettings,
    watched: bool = False,
    languages: tuple[AdditionalLanguage, ...] = (),
) -> tuple[Plan | None, str]:
    """The plan for the folders of a workspace and those of the settings, and what is not indexed; None if nothing is.

    Looks at the disk: not to be called where nothing may wait.
    """
    if not settings.enabled:
        return None, "The index is switched off (index.enabled)."
    folders: dict[Path, None] = {}  # as they are, whatever links they are named by
    links: dict[str, str] = {}
    opened: set[Path] = set()
    notes = []
    further = [Path(os.path.expanduser(each)) for each in settings.folders]
    for number, folder in enumerate([*workspace, *further]):
        why = _why_not(folder)
        if not why:
            real = folder.resolve()
            folders[real] = None
            if real != folder:
                links[str(folder)] = str(real)
            if number < len(workspace):
                opened.add(real)
        elif number < len(workspace) or folder not in workspace:
            notes.append(f"{folder} is not indexed: it is {why}.")
    # Further folders alone are no workspace.
    if not workspace:
        notes = ["No folder is open: there is nothing to index."]
    if not opened:
        return None, " ".join(notes)
    names = tuple(str(folder) for folder in folders)
    # Nobody tells of changes in folders that the editor does not have open.
    watched = watched and folders.keys() <= opened
    # With other languages the same files read otherwise: that is another index.
    database = config.data_folder() / "index" / f"{_hash(names, languages)}.sqlite"
    most_bytes = settings.max_file_kilobytes * 1000
    made = Plan(str(database), names, settings.ignore, most_bytes, watched, languages, tuple(links.items()))
    return made, " ".join(notes)


def _why_not(folder: Path) -> str:
    try:
        if not folder.is_absolute() or not folder.is_dir():
            return "not a folder that can be read"
        place = folder.resolve()
        if place.parent == place:
            return "the root of a file system"
        if machine.home().resolve().is_relative_to(place):
            return "your home directory, or holds it"
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL in the name
        return "not a folder that can be read"
    return ""


def _hash(names: Iterable[str], languages: Sequence[AdditionalLanguage]) -> str:
    joined = "\0".join([*sorted(os.path.normcase(name) for name in names), *map(repr, languages)])
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def place_of(path: Path, folders: Iterable[str]) -> FileKey | None:
    """The innermost of the folders that holds a file, and the file's path from there with "/"."""
    holding = [folder for folder in folders if path != Path(folder) and path.is_relative_to(folder)]
    if not holding:
        return None
    folder = max(holding, key=lambda each: len(Path(each).parts))
    return folder, path.relative_to(folder).as_posix()


def others_inside(folder: str, folders: Iterable[str]) -> tuple[str, ...]:
    """Patterns that leave out of a folder what is indexed as a folder of its own."""
    places = (place_of(Path(other), [folder]) for other in folders)
    return tuple("/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", place[1]) + "/" for place in places if place)
