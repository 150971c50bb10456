"""When an index is forgotten: once its folder has been gone for 30 days, the copy of its text goes as well.

Beside each index lies which folders it is of and on which file system each one is. A disk that is not there takes its
folders along, so a folder is gone only if the file system that held it is there without it. What cannot be asked is not
gone. An index without such a note is of an earlier version: it is forgotten when nobody has used it for as long.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.data import from_json, to_json
from tabby_lsp.index import shelf
from tabby_lsp.processes import machine

GONE_SECONDS = 30 * 86_400
_NOTE = ".folders"


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    mount: str  # where the file system begins that holds it


@dataclass(frozen=True, slots=True)
class _Note:
    folders: tuple[_Folder, ...]
    gone_since: float = 0.0  # seconds since 1970, as it was first seen; 0 if it is there


def note(database: Path, folders: Sequence[str]) -> None:
    """Writes down that an index is in use for these folders. Raises OSError."""
    _write(database, _Note(tuple(_Folder(each, machine.mount_point(each)) for each in folders)))


def forget(place: Path, now: float | None = None) -> None:
    """Deletes in a folder of indexes those whose time has come. May wait for a file system that does not answer."""
    now = time.time() if now is None else now
    for database in sorted(place.glob("*.sqlite")):
        with contextlib.suppress(OSError):  # another process does the same, or the system does not let go of it
            if _is_over(database, now):
                shelf.delete(database)


def _is_over(database: Path, now: float) -> bool:
    said = _read(database)
    if said is None:
        files = (database.with_name(database.name + end) for end in ("", "-wal"))
        return now - max(file.stat().st_mtime for file in files if file.exists()) > GONE_SECONDS
    # One of several is enough: a workspace without it has another index.
    if not any(_is_gone(each) for each in said.folders):
        if said.gone_since:
            _write(database, _Note(said.folders))
    elif not 0 < said.gone_since <= now:
        _write(database, _Note(said.folders, now))
    else:
        return now - said.gone_since > GONE_SECONDS
    return False


def _is_gone(folder: _Folder) -> bool:
    try:
        os.stat(folder.path)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.isdir(folder.mount) and os.path.ismount(folder.mount)
    except (OSError, ValueError):
        pass
    return False


def _path(database: Path) -> Path:
    return database.with_name(database.name + _NOTE)


def _read(database: Path) -> _Note | None:
    try:
        said = from_json(_Note, json.loads(_path(database).read_bytes()))
        return said if said.folders and isinstance(said.gone_since, float | int) else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _write(database: Path, said: _Note) -> None:
    machine.private_file(_path(database))
    _path(database).write_text(json.dumps(to_json(said)), encoding="utf-8")
