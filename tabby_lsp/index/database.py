"""The index's SQLite file: opened, followed, and made anew where it is damaged.

Whatever happens to the file, the index is a copy: `reason` says what happened, and nothing raises for it, as long as
there can be a file.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tabby_lsp.processes import machine

# To be raised whenever other things are stored, or `outline` or `tokens` say other things of the same text.
VERSION = 4
PATIENCE = 60  # seconds that a change waits for the other writer, who holds the file for far less than one
OPENING = 10  # seconds that it may take until the file can be opened, if others are doing so as well

_WRITABLE = "Set TABBY_ROOT to a folder that can be written."
_MAGIC = b"SQLite format 3\0"
_Result = TypeVar("_Result")

_SCHEMA = (
    "CREATE TABLE roots (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, scanned REAL)",
    "CREATE TABLE files (id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL,"
    " language TEXT NOT NULL, hash BLOB NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL,"
    " lines INTEGER NOT NULL, buffer INTEGER NOT NULL, UNIQUE (root, path))",
    "CREATE INDEX files_of_buffers ON files (buffer) WHERE buffer",
    "CREATE TABLE symbols (file INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, scope TEXT NOT NULL,"
    " first INTEGER NOT NULL, last INTEGER NOT NULL, signature TEXT NOT NULL, doc TEXT NOT NULL)",
    "CREATE INDEX symbols_by_name ON symbols (name COLLATE NOCASE)",
    "CREATE INDEX symbols_of_file ON symbols (file)",
    "CREATE TABLE imports (file INTEGER NOT NULL, module TEXT NOT NULL, names TEXT NOT NULL, alias TEXT NOT NULL)",
    "CREATE INDEX imports_of_file ON imports (file)",
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"
    " names TEXT NOT NULL, text BLOB NOT NULL)",
    "CREATE INDEX chunks_of_file ON chunks (file)",
    "CREATE VIRTUAL TABLE chunk_terms USING fts5 (names, text, content = '', tokenize = \"ascii tokenchars '_'\")",
    "CREATE VIRTUAL TABLE term_counts USING fts5vocab (chunk_terms, 'row')",
    "CREATE TABLE uses (file INTEGER PRIMARY KEY, names TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE use_names USING fts5 (names, content = '', detail = none, columnsize = 0,"
    " tokenize = \"ascii tokenchars '_$'\")",
    # Terms that wait for their place in the table: in many small heaps they would have to be merged again and again.
    "INSERT INTO chunk_terms (chunk_terms, rank) VALUES ('hashsize', 8388608)",
)


class NoFile(Exception):
    """There can be no index where it should be; it says why and what to do."""


class _Unusable(Exception):
    """A file that is not our index as it is now; it says why."""


class Database:
    """A connection to the file, or to one made anew. Whatever is asked of it raises NoFile where there can be none."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            except BaseException:  # of the work itself, or an end from outside: the transaction must not stay open
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
        if _node(self.path) != self._node:
            self.database.close()
            self.reason = "The index was deleted and is made anew."
            self.rebuilt += 1
            self.database = self._opened(self.path)

    def _look(self) -> None:
        """Somebody may have written over it. We would not see that for long, by what we remember of it; readers do."""
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
        self.database.close()
        _delete_file(self.path)
        self.database = self._opened(self.path)

    def _opened(self, path: Path) -> sqlite3.Connection:
        deadline = time.monotonic() + OPENING
        renewed = False
        while True:
            before = _node(path)
            try:
                machine.private_folder(path.parent)
                machine.private_file(path)  # what SQLite makes beside it has its mode
                database = _connected(str(path))
                self._node = _node(path)
                if before in (None, self._node):
                    return database
                database.close()  # somebody made it anew just now: this is the old one
            except _Unusable as unusable:
                if renewed:
                    raise NoFile(f"The index {unusable}, and so was the one made in its place.") from None
                renewed = True
                self.reason = f"The index {unusable} and is made anew."
                _delete_file(path)
            except (OSError, ValueError, sqlite3.Error) as error:
                if "no such module" in str(error):
                    raise NoFile("The SQLite of this Python has no FTS5, without which there is no index.") from error
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise NoFile(f"There can be no index ({error}). {_WRITABLE}") from error
                time.sleep(0.05)  # two who create it at once: for this SQLite does not wait by itself

    def _roll_back(self) -> None:
        try:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # a transaction that cannot be undone is undone when the file is opened again


def _connected(path: str) -> sqlite3.Connection:
    """Raises _Unusable for a file that should be deleted, NoFile for one that must not be, and
    sqlite3.OperationalError where none can be."""
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
    except (_Unusable, NoFile):
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    # In this order: another process creates all tables and the version at once, maybe between the two questions.
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        # Two versions in two editors would delete each other's file for ever.
        raise NoFile("The index is that of a newer tabby-lsp: use that one, or run `tabby-lsp index --forget DIR`.")
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
    """Raises NoFile where the system does not let go of it."""
    try:
        for end in ("-wal", "-shm", ""):
            path.with_name(path.name + end).unlink(missing_ok=True)
    except OSError as error:
        raise NoFile(
            f"The index has to be made anew and cannot be deleted ({error}). Close other editors that use it."
        ) from error
