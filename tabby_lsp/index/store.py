"""The index of a workspace: one SQLite file that one process writes and any number of them read (`search`).

The text is kept once, in chunks along its syntax and compressed, and not read from the disk when it is shown: it may
be that of an unsaved buffer, and a hit's lines have to be those that were found. Next to it there are two full-text
tables that keep no text, one for the terms of the chunks and one for the names that a file uses.

Whatever happens to the file, the index is a copy: a damaged or older one is built anew, one that was deleted under us
too, and `reason` says so. Where there can be none, every method raises `database.NoFile`. What could not be written has
no stamp here, and so the next walk brings it again.

Knows neither which files there are nor when they change.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from tabby_lsp.index.database import Database
from tabby_lsp.index.entry import Chunk, Entry, digest, joined_tokens, packed, prepare, storable, unpacked
from tabby_lsp.index.walk import Stamp

UNKNOWN = Stamp(-1, -1)  # of a file that is not known to be on the disk


@dataclass(frozen=True, slots=True)
class Counts:
    files: int = 0
    lines: int = 0
    symbols: int = 0
    chunks: int = 0


class Store:
    """The one who writes. To be used by one thread at a time. Roots are folders; paths are relative to them, with "/".

    Methods that write say whether something was written. A file with several writers is no harm: they see each
    other's work, and of the same file the last one counts. That may cost a buffer: see `has_buffer`.
    """

    def __init__(self, file: Database) -> None:
        self._file = file
        self._buffers: set[tuple[str, str]] = set()  # of this writer, as (root, path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens or creates the index. Buffers that are in it are those of an editor that ended, and are dropped.

        Raises NoFile, also where SQLite was built without FTS5.
        """
        store = cls(Database(path))
        store._file.write(_delete_buffers, 0)
        return store

    def close(self) -> None:
        """The store is not to be used any more. Its buffers end with it."""
        self._file.write(lambda database: sum(_delete_one(database, *where) for where in self._buffers), 0)
        self._file.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def reason(self) -> str:
        """Why it is not simply the file that it was; "" if it is."""
        return self._file.reason

    @property
    def rebuilt(self) -> int:
        """How often it has begun anew since it was opened: what it held, buffers too, then has to be put again."""
        return self._file.rebuilt

    def put(self, root: Path, path: str, language: str, text: str, stamp: Stamp) -> bool:
        """What stands on the disk. It is worked through only if it is not what was there before."""
        where = _key(root, path)
        if where in self._buffers:
            return False
        row = self._row(*where)
        if row is None or not row.holds(text, language):
            return self.put_all(root, [prepare(path, language, text, stamp)]) == 1
        if row.buffer or row.stamp != stamp:
            self._file.write(partial(_mark, id=row.id, stamp=stamp, buffer=False), False)
        return False

    def put_all(self, root: Path, entries: Iterable[Entry]) -> int:
        """Many files in one transaction, which is much faster than one by one. How many of them were written."""
        return self._write(root, [entry for entry in entries if _key(root, entry.path) not in self._buffers], False)

    def put_buffer(self, root: Path, path: str, language: str, text: str) -> bool:
        """What stands in an editor. It counts, and not what is put, until the buffer is dropped."""
        where = _key(root, path)
        self._buffers.add(where)
        row = self._row(*where)
        stamp = UNKNOWN if row is None else row.stamp
        if row is None or not row.holds(text, language):
            return self._write(root, [prepare(path, language, text, stamp)], True) == 1
        if not row.buffer:
            self._file.write(partial(_mark, id=row.id, stamp=stamp, buffer=True), False)
        return False

    def has_buffer(self, root: Path, path: str) -> bool:
        """Whether it is there as an editor has it, be it that of another writer."""
        row = self._row(*_key(root, path))
        return row is not None and row.buffer

    def drop_buffer(self, root: Path, path: str) -> bool:
        """An editor has closed it. The file is then unknown: if it is on the disk, it has to be put again."""
        where = _key(root, path)
        if where not in self._buffers:
            return False
        self._buffers.discard(where)
        return self._file.write(lambda database: _delete_one(database, *where), False)

    def remove(self, root: Path, path: str, below: bool = False) -> int:
        """A file is gone from the disk, or a folder with all that was in it; `below`: only what was in it.

        Buffers of this writer stay. How many files they were.
        """
        folder, gone = _key(root, path)
        # What is below begins with the path and a "/"; "0" is the character behind that.
        query = (
            "SELECT files.id, files.path FROM files JOIN roots ON roots.id = root"
            " WHERE roots.path = ? AND (files.path = ? OR files.path > ? AND files.path < ?)"
        )
        values = (folder, None if below else gone, gone + "/", gone + "0")

        def remove(database: sqlite3.Connection) -> int:
            rows = database.execute(query, values).fetchall()
            ids = [id for id, path in rows if (folder, path) not in self._buffers]
            for id in ids:
                _delete(database, id)
            return len(ids)

        # Nearly every time there is nothing, and to know that takes no transaction.
        return self._file.write(remove, 0) if self._file.rows(query, values) else 0

    def look(self) -> None:
        """Notices what others have done to the file, as every change does. See `rebuilt`."""
        self._file.write(lambda database: None, None)

    def forget_missing(self, root: Path, seen: Collection[str]) -> int:
        """All of a root was looked at just now. Removes the files that were not seen, but for buffers; how many."""

        def forget(database: sqlite3.Connection) -> int:
            values = (time.time(), _root(database, storable(str(root))))
            database.execute("UPDATE roots SET scanned = ? WHERE id = ?", values)
            query = "SELECT files.id, files.path FROM files JOIN roots ON roots.id = root WHERE roots.path = ?"
            rows = database.execute(query + " AND NOT buffer", (storable(str(root)),)).fetchall()
            missing = [id for id, path in rows if path not in seen]
            for id in missing:
                _delete(database, id)
            return len(missing)

        return self._file.write(forget, 0)

    def stamp_of(self, root: Path, path: str) -> Stamp | None:
        """That of the file as it was put; None if it is not known, or not from the disk."""
        row = self._row(*_key(root, path))
        return None if row is None or row.stamp == UNKNOWN else row.stamp

    def counts(self) -> Counts:
        query = (
            "SELECT count(*), total(lines), (SELECT count(*) FROM symbols), (SELECT count(*) FROM chunks) FROM files"
        )
        for files, lines, symbols, chunks in self._file.rows(query):
            return Counts(files, int(lines), symbols, chunks)
        return Counts()

    def _write(self, root: Path, entries: Sequence[Entry], buffer: bool) -> int:
        def write(database: sqlite3.Connection) -> int:
            id = _root(database, storable(str(root)))
            for entry in entries:
                _replace(database, id, entry, buffer)
            return len(entries)

        return self._file.write(write, 0) if entries else 0

    def _row(self, root: str, path: str) -> _Row | None:
        query = (
            "SELECT files.id, hash, language, mtime_ns, size, buffer FROM files JOIN roots ON roots.id = root"
            " WHERE roots.path = ? AND files.path = ?"
        )
        for id, hash, language, mtime_ns, size, buffer in self._file.rows(query, (root, path)):
            return _Row(id, hash, language, Stamp(mtime_ns, size), bool(buffer))
        return None


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    hash: bytes
    language: str
    stamp: Stamp
    buffer: bool

    def holds(self, text: str, language: str) -> bool:
        return self.language == language and self.hash == digest(storable(text))


def _key(root: Path, path: str) -> tuple[str, str]:
    return storable(str(root)), storable(path)


# Rows: all within a transaction of `Database.write`


def _root(database: sqlite3.Connection, path: str) -> int:
    database.execute("INSERT OR IGNORE INTO roots (path) VALUES (?)", (path,))
    return int(database.execute("SELECT id FROM roots WHERE path = ?", (path,)).fetchone()[0])


def _mark(database: sqlite3.Connection, id: int, stamp: Stamp, buffer: bool) -> bool:
    values = (stamp.mtime_ns, stamp.size, buffer, id)
    return database.execute("UPDATE files SET mtime_ns = ?, size = ?, buffer = ? WHERE id = ?", values).rowcount > 0


def _replace(database: sqlite3.Connection, root: int, entry: Entry, buffer: bool) -> None:
    found = entry.outline
    row = database.execute("SELECT id FROM files WHERE root = ? AND path = ?", (root, entry.path)).fetchone()
    values = (entry.language, entry.hash, entry.stamp.mtime_ns, entry.stamp.size, entry.lines, buffer)
    if row is None:
        insert = "INSERT INTO files (language, hash, mtime_ns, size, lines, buffer, root, path)"
        id = database.execute(f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, root, entry.path)).lastrowid or 0
    else:
        id = row[0]
        update = "UPDATE files SET language = ?, hash = ?, mtime_ns = ?, size = ?, lines = ?, buffer = ? WHERE id = ?"
        database.execute(update, (*values, id))
        database.execute("DELETE FROM symbols WHERE file = ?", (id,))
        database.execute("DELETE FROM imports WHERE file = ?", (id,))
    database.executemany(
        "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (id, each.name, each.kind, each.scope, each.first, each.last, each.signature, each.doc)
            for each in found.symbols
        ],
    )
    database.executemany(
        "INSERT INTO imports VALUES (?, ?, ?, ?)",
        [(id, each.module, "\n".join(each.names), each.alias) for each in found.imports],
    )
    _replace_chunks(database, id, entry.chunks)
    _replace_uses(database, id, " ".join(found.references))


def _replace_chunks(database: sqlite3.Connection, file: int, chunks: Sequence[Chunk]) -> None:
    """Chunks that say the same stay and only move: while one types in a file that is all of them but one.

    To pack the others and to find their tokens is left until here, since it takes as long as a parse.
    """
    rows = database.execute("SELECT id, first, last, names, text FROM chunks WHERE file = ?", (file,)).fetchall()
    old: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for id, first, last, names, text in rows:
        old.setdefault((names, unpacked(text)), []).append((id, first, last))
    moved = []
    for chunk in chunks:
        same = old.get((chunk.names, chunk.text))
        if same:
            id, first, last = same.pop()
            if (first, last) != (chunk.first, chunk.last):
                moved.append((chunk.first, chunk.last, id))
        else:
            values = (file, chunk.first, chunk.last, chunk.names, packed(chunk.text))
            insert = "INSERT INTO chunks (file, first, last, names, text) VALUES (?, ?, ?, ?, ?)"
            new = database.execute(insert, values).lastrowid
            found_by = (new, joined_tokens(chunk.names), joined_tokens(chunk.text))
            database.execute("INSERT INTO chunk_terms (rowid, names, text) VALUES (?, ?, ?)", found_by)
    database.executemany("UPDATE chunks SET first = ?, last = ? WHERE id = ?", moved)
    _delete_chunks(database, [(id, *said) for said, same in old.items() for id, _, _ in same])


def _delete_chunks(database: sqlite3.Connection, chunks: Iterable[tuple[int, str, str]]) -> None:
    """A table without text has to be told what it forgets: exactly the tokens that it was given."""
    forget = "INSERT INTO chunk_terms (chunk_terms, rowid, names, text) VALUES ('delete', ?, ?, ?)"
    for id, names, text in chunks:
        database.execute(forget, (id, joined_tokens(names), joined_tokens(text)))
        database.execute("DELETE FROM chunks WHERE id = ?", (id,))


def _replace_uses(database: sqlite3.Connection, file: int, names: str) -> None:
    row = database.execute("SELECT names FROM uses WHERE file = ?", (file,)).fetchone()
    if row is not None and row[0] == names:
        return
    if row is not None:
        database.execute("INSERT INTO use_names (use_names, rowid, names) VALUES ('delete', ?, ?)", (file, row[0]))
        database.execute("DELETE FROM uses WHERE file = ?", (file,))
    if names:
        database.execute("INSERT INTO uses VALUES (?, ?)", (file, names))
        database.execute("INSERT INTO use_names (rowid, names) VALUES (?, ?)", (file, names))


def _delete(database: sqlite3.Connection, file: int) -> None:
    rows = database.execute("SELECT id, names, text FROM chunks WHERE file = ?", (file,)).fetchall()
    _delete_chunks(database, [(id, names, unpacked(text)) for id, names, text in rows])
    _replace_uses(database, file, "")
    for table in ("symbols", "imports"):
        database.execute(f"DELETE FROM {table} WHERE file = ?", (file,))
    database.execute("DELETE FROM files WHERE id = ?", (file,))


def _delete_one(database: sqlite3.Connection, root: str, path: str) -> bool:
    query = "SELECT files.id FROM files JOIN roots ON roots.id = root WHERE roots.path = ? AND files.path = ?"
    row = database.execute(query, (root, path)).fetchone()
    if row is not None:
        _delete(database, row[0])
    return row is not None


def _delete_buffers(database: sqlite3.Connection) -> int:
    rows = database.execute("SELECT id FROM files WHERE buffer").fetchall()
    for (id,) in rows:
        _delete(database, id)
    return len(rows)
