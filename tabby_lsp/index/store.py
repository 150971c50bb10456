"""The index of a workspace: one SQLite file that one process writes and any number of them read (`search`).

The text is kept once, in chunks along its syntax and compressed, and not read from the disk when it is shown: it may
be that of an unsaved buffer, and a hit's lines have to be those that were found. Next to it there are two full-text
tables that keep no text, one for the terms of the chunks and one for the names that a file uses.

Whatever happens to the file, the index is a copy: a damaged or older one is built anew, one that was deleted under us
too, and where none can be written it is kept in memory; `reason` says so. No method raises for it. What could not be
written has no stamp here, and so the next walk brings it again.

Knows neither which files there are nor when they change.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tabby_lsp.index.symbols import Outline, outline
from tabby_lsp.index.walk import Stamp
from tabby_lsp.text import split_lines

# To be raised whenever other things are stored, or `outline` or `terms` say other things of the same text.
VERSION = 1
PATIENCE = 60  # seconds that a change waits for the other writer, who holds the file for far less than one
OPENING = 10  # seconds that it may take until the file can be opened, if others are doing so as well
MOST_TERM = 64  # characters: what is longer is no name but data
UNKNOWN = Stamp(-1, -1)  # of a file that is not known to be on the disk

_SCHEMA = (
    "CREATE TABLE roots (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE)",
    "CREATE TABLE files (id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL, name TEXT NOT NULL,"
    " language TEXT NOT NULL, hash BLOB NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL,"
    " lines INTEGER NOT NULL, buffer INTEGER NOT NULL, UNIQUE (root, path))",
    "CREATE INDEX files_by_name ON files (name COLLATE NOCASE)",
    "CREATE INDEX files_of_buffers ON files (buffer) WHERE buffer",
    "CREATE TABLE symbols (file INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, scope TEXT NOT NULL,"
    " first INTEGER NOT NULL, last INTEGER NOT NULL, signature TEXT NOT NULL, doc TEXT NOT NULL)",
    "CREATE INDEX symbols_by_name ON symbols (name COLLATE NOCASE)",
    "CREATE INDEX symbols_of_file ON symbols (file)",
    "CREATE TABLE imports (file INTEGER NOT NULL, module TEXT NOT NULL, names TEXT NOT NULL, alias TEXT NOT NULL)",
    "CREATE INDEX imports_of_file ON imports (file)",
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"
    " text BLOB NOT NULL)",
    "CREATE INDEX chunks_of_file ON chunks (file)",
    "CREATE VIRTUAL TABLE chunk_terms USING fts5 (terms, content = '', tokenize = \"ascii tokenchars '_'\")",
    "CREATE VIRTUAL TABLE term_counts USING fts5vocab (chunk_terms, 'row')",
    "CREATE TABLE uses (file INTEGER PRIMARY KEY, names TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE use_names USING fts5 (names, content = '', detail = none, columnsize = 0,"
    " tokenize = \"ascii tokenchars '_$'\")",
    # Terms that wait for their place in the table: in many small heaps they would have to be merged again and again.
    "INSERT INTO chunk_terms (chunk_terms, rank) VALUES ('hashsize', 8388608)",
)

_WORD = re.compile(r"[^\W\d]\w*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MAGIC = b"SQLite format 3\0"
_Result = TypeVar("_Result")


@lru_cache(maxsize=1 << 16)
def _terms_of(word: str) -> tuple[str, ...]:
    whole = word.strip("_").lower()
    if not 1 < len(whole) <= MOST_TERM:
        return ()
    parts = _PART.findall(word) if word.isascii() else whole.split("_")
    return (whole, *(part.lower() for part in parts if 1 < len(part) < len(whole)))


def terms(text: str) -> list[str]:
    """What a text is found by: its names and the parts of them, in lower case, each once and in order.

    `parseHTTPHeader` and `parse_http_header` have parts in common, and the whole name still tells them apart.
    """
    return list(dict.fromkeys(term for word in dict.fromkeys(_WORD.findall(text)) for term in _terms_of(word)))


@dataclass(frozen=True, slots=True)
class Chunk:
    first: int
    last: int
    text: bytes  # compressed
    terms: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it is stored. Made apart from the store, so that other processes can do the work."""

    path: str
    language: str
    stamp: Stamp
    hash: bytes
    lines: int
    outline: Outline
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    files: int = 0
    lines: int = 0
    symbols: int = 0
    chunks: int = 0


def prepare(path: str, language: str, text: str, stamp: Stamp) -> Entry:
    """All that is to be stored of a file; here is nearly all of the time that indexing takes."""
    text = storable(text)
    lines = split_lines(text)
    found = outline(text, language)
    chunks = tuple(_chunk(first, last, "".join(lines[first : last + 1])) for first, last in found.chunks)
    return Entry(storable(path), language, stamp, _hash(text), len(lines) - (not lines[-1]), found, chunks)


def _chunk(first: int, last: int, text: str) -> Chunk:
    return Chunk(first, last, zlib.compress(text.encode("utf-8"), 1), _joined_terms(text))


def _joined_terms(text: str) -> str:
    return " ".join(terms(text))


def unpacked(text: bytes) -> str:
    """The text of a chunk. Raises sqlite3.DatabaseError, as for any damage of the file."""
    try:
        return zlib.decompress(text).decode("utf-8")
    except (zlib.error, UnicodeDecodeError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a text that cannot be read: {error}") from error


def storable(text: str) -> str:
    """Half of a surrogate pair, as editors send it, cannot be stored; nor can names that are no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


class Store:
    """The one who writes. To be used by one thread at a time. Roots are folders; paths are relative to them, with "/".

    Methods that write say whether something was written. A file with several writers is no harm: they see each
    other's work, and of the same file the last one counts.
    """

    def __init__(self, file: _File) -> None:
        self._file = file
        self._buffers: set[tuple[str, str]] = set()  # of this writer, as (root, path)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens or creates the index. Buffers that are in it are those of an editor that ended, and are dropped.

        Raises sqlite3.OperationalError where SQLite was built without FTS5.
        """
        store = cls(_File(path))
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
    def in_memory(self) -> bool:
        """Then no other process can read it."""
        return self._file.path is None

    @property
    def rebuilt(self) -> int:
        """How often it has begun anew since it was opened: what it held, buffers too, then has to be put again."""
        return self._file.rebuilt

    @property
    def connection(self) -> sqlite3.Connection:
        """For a search by this thread: an index in memory can be read in no other way."""
        return self._file.database

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

    def drop_buffer(self, root: Path, path: str) -> bool:
        """An editor has closed it. The file is then unknown: if it is on the disk, it has to be put again."""
        where = _key(root, path)
        if where not in self._buffers:
            return False
        self._buffers.discard(where)
        return self._file.write(lambda database: _delete_one(database, *where), False)

    def remove(self, root: Path, path: str) -> bool:
        """It is gone from the disk. A buffer stays."""
        where = _key(root, path)
        return where not in self._buffers and self._file.write(lambda database: _delete_one(database, *where), False)

    def forget_missing(self, root: Path, seen: Collection[str]) -> int:
        """Removes the files of a root that a walk has not seen, but for buffers. How many they were."""

        def forget(database: sqlite3.Connection) -> int:
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
        return self.language == language and self.hash == _hash(storable(text))


def _key(root: Path, path: str) -> tuple[str, str]:
    return storable(str(root)), storable(path)


# Rows: all within a transaction of `_File.write`


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
        insert = "INSERT INTO files (language, hash, mtime_ns, size, lines, buffer, root, path, name)"
        named = (root, entry.path, entry.path.rpartition("/")[2])
        id = database.execute(f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, *named)).lastrowid or 0
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
    """Chunks whose text is the same stay and only move: while one types in a file that is all of them but one."""
    rows = database.execute("SELECT id, text FROM chunks WHERE file = ?", (file,)).fetchall()
    old: dict[bytes, list[int]] = {}
    for id, text in rows:
        old.setdefault(text, []).append(id)
    for chunk in chunks:
        same = old.get(chunk.text)
        if same:
            place = (chunk.first, chunk.last, same.pop())
            database.execute("UPDATE chunks SET first = ?, last = ? WHERE id = ?", place)
        else:
            insert = "INSERT INTO chunks (file, first, last, text) VALUES (?, ?, ?, ?)"
            new = database.execute(insert, (file, chunk.first, chunk.last, chunk.text)).lastrowid
            database.execute("INSERT INTO chunk_terms (rowid, terms) VALUES (?, ?)", (new, chunk.terms))
    _delete_chunks(database, [(id, text) for text, ids in old.items() for id in ids])


def _delete_chunks(database: sqlite3.Connection, chunks: Iterable[tuple[int, bytes]]) -> None:
    """A table without text has to be told what it forgets: exactly the terms that it was given."""
    for id, text in chunks:
        forgotten = (id, _joined_terms(unpacked(text)))
        database.execute("INSERT INTO chunk_terms (chunk_terms, rowid, terms) VALUES ('delete', ?, ?)", forgotten)
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
    _delete_chunks(database, database.execute("SELECT id, text FROM chunks WHERE file = ?", (file,)).fetchall())
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


# The file


class _Unusable(Exception):
    """A file that is not our index as it is now; it says why."""


class _File:
    """A connection to the file, or to one made anew, or to one in memory: there always is one."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self.reason = ""
        self.rebuilt = 0
        self._node: tuple[int, int] | None = None
        self.database = self._opened(path)

    def write(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        """Does some work in a transaction: whole, or not at all. `otherwise` if it cannot be done."""
        deadline = time.monotonic() + PATIENCE
        renewed = False
        while True:
            try:
                self._follow()
                self._look()
                self.database.execute("BEGIN IMMEDIATE")
                result = work(self.database)
                self.database.execute("COMMIT")
                return result
            except sqlite3.Error as error:
                self._roll_back()
                if "locked" in str(error) and time.monotonic() < deadline:
                    continue  # SQLite has waited for the other writer before it said so
                if renewed or not _is_damage(error):
                    self.reason = f"The index could not be written: {error}."
                    return otherwise
                self._renew(f"The index was damaged ({error}) and is made anew.")
                renewed = True
            except BaseException:
                self._roll_back()
                raise

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """What a query finds; nothing if the file cannot be read. If it is damaged, a change will meet that too."""
        self._follow()
        try:
            return self.database.execute(query, values).fetchall()
        except sqlite3.Error:
            return []

    def _follow(self) -> None:
        """Somebody may have deleted the file: we would write for nobody to read."""
        if self.path is not None and _node(self.path) != self._node:
            self.database.close()
            self.reason = "The index was deleted and is made anew."
            self.rebuilt += 1
            self.database = self._opened(self.path)

    def _look(self) -> None:
        """Somebody may have written over it. We would not see that for long, by what we remember of it; readers do."""
        if self.path is not None:
            try:
                with open(self.path, "rb") as file:
                    begins = file.read(len(_MAGIC))
            except OSError:
                return  # whatever that is, the transaction will tell
            if begins != _MAGIC:
                raise sqlite3.DatabaseError("it does not begin as one")

    def _renew(self, reason: str) -> None:
        self.reason = reason
        self.rebuilt += 1
        path = self.path
        self.database.close()
        if path is None:
            self.database = _connected(":memory:")
            return
        try:
            _delete_file(path)
        except OSError as error:
            self.database = self._in_memory(error)
        else:
            self.database = self._opened(path)

    def _opened(self, path: Path) -> sqlite3.Connection:
        deadline = time.monotonic() + OPENING
        renewed = False
        while True:
            before = _node(path)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                database = _connected(str(path))
                self._node = _node(path)
                if before in (None, self._node):
                    return database
                database.close()  # somebody made it anew just now: this is the old one
            except _Unusable as unusable:
                if renewed:
                    return self._in_memory(unusable)
                renewed = True
                self.reason = f"The index {unusable} and is made anew."
                try:
                    _delete_file(path)
                except OSError as error:
                    return self._in_memory(error)
            except (OSError, ValueError, sqlite3.Error) as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    return self._in_memory(error)
                time.sleep(0.05)  # two who create it at once: for this SQLite does not wait by itself

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self.reason = f"The index is kept in memory: {error}."
        self.path = None
        return _connected(":memory:")

    def _roll_back(self) -> None:
        try:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # a transaction that cannot be undone is undone when the file is opened again


def _connected(path: str) -> sqlite3.Connection:
    """Raises _Unusable for a file that should be deleted, and sqlite3.OperationalError where none can be."""
    database = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        _check(database)
        # A file that nobody may write to shows it here.
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except sqlite3.Error as error:
        database.close()
        if _is_damage(error):
            raise _Unusable(f"was damaged ({error})") from error
        raise
    except _Unusable:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    # In this order: another process creates all tables and the version at once, maybe between the two questions.
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        # Two versions in two editors would delete each other's file for ever.
        raise sqlite3.OperationalError("unable to open the file of a newer version")
    if version < VERSION and tables:
        raise _Unusable("is that of an older version")
    if tables and database.execute("PRAGMA quick_check (1)").fetchone()[0] != "ok":
        raise _Unusable("was damaged")
    if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # a loss of power may cost the last changes, never the file
    database.execute("PRAGMA cache_size = -32000")
    database.execute("PRAGMA temp_store = MEMORY")


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is to blame, and not its folder, the other writer, this SQLite or ourselves."""
    if isinstance(error, sqlite3.OperationalError):
        others = ("locked", "readonly", "unable to open", "full", "no such module")
        return not any(words in str(error) for words in others)
    return type(error) is sqlite3.DatabaseError


def _node(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _delete_file(path: Path) -> None:
    """Raises OSError where the system does not let go of it."""
    for end in ("-wal", "-shm", ""):
        path.with_name(path.name + end).unlink(missing_ok=True)
