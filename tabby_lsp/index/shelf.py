"""The indexes that lie on this machine: which folders each is of, how large it is, and that one can be forgotten."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabby_lsp import config
from tabby_lsp.index.database import VERSION


@dataclass(frozen=True, slots=True)
class Held:
    """An index, with all files that belong to it."""

    database: Path
    folders: tuple[str, ...]  # () if it cannot be read: it is damaged, or of another version
    files: int
    bytes: int
    written: float  # when, in seconds since 1970
    current: bool  # whether this version reads it


def held() -> list[Held]:
    """All there are, those that were written last first."""
    place = config.data_folder() / "index"
    return sorted((_held(each) for each in place.glob("*.sqlite")), key=lambda each: -each.written)


def of_folder(folder: Path) -> list[Held]:
    """Those that hold a folder, which need not exist any more. One that other languages were set for is another one."""
    names = {os.path.normcase(os.path.abspath(folder)), os.path.normcase(os.path.realpath(folder))}
    return [each for each in held() if names.intersection(map(os.path.normcase, each.folders))]


def delete(database: Path) -> None:
    """Deletes an index with all that lies beside it. A server that uses it makes it anew. Raises OSError where the
    system does not let go of it.
    """
    for part in sorted(_parts(database), reverse=True):  # itself last: until then it can be told that it is there
        part.unlink(missing_ok=True)


def _parts(database: Path) -> list[Path]:
    return sorted(database.parent.glob(f"{database.name}*"))


def _held(database: Path) -> Held:
    sizes = [each.stat() for each in _parts(database) if each.exists()]
    rows = list(
        _rows(database, "SELECT path, (SELECT count(*) FROM files WHERE root = roots.id) FROM roots ORDER BY path")
    )
    folders = tuple(path for path, _ in rows)
    written = max((each.st_mtime for each in sizes), default=0.0)
    current = [(VERSION,)] == list(_rows(database, "PRAGMA user_version"))
    size = sum(each.st_size for each in sizes)
    return Held(database, folders, sum(count for _, count in rows), size, written, current)


def _rows(database: Path, query: str) -> Iterator[Any]:
    """Nothing of a file that cannot be read."""
    try:
        connection = sqlite3.connect(database.absolute().as_uri() + "?mode=ro", uri=True, timeout=1)
    except (sqlite3.Error, ValueError):
        return
    try:
        yield from connection.execute(query)
    except sqlite3.Error:
        return
    finally:
        connection.close()
