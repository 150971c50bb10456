"""Questions to the index: what has a name, what is in a file, what is like a text.

Reads only, on a connection of its own, in any process and while others write. Where there is no index, or none that
can be read, the answer is that there is nothing. Knows neither who writes it nor what becomes of the hits.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabby_lsp.index.contents import is_test
from tabby_lsp.index.database import VERSION
from tabby_lsp.index.entry import storable, unpacked
from tabby_lsp.index.passages import FileUses, Passage
from tabby_lsp.index.question import Question
from tabby_lsp.index.ranking import reach
from tabby_lsp.index.symbols import Import, Symbol
from tabby_lsp.index.words import tokens
from tabby_lsp.text import split_lines

MOST_LINES = 120  # of a definition are shown: of a class its head and what one sees first
HITS_PER_FILE = 2
# A text is asked for with the rarest of its tokens, since each place of one costs time and a common one tells little:
# so many are looked at, each may be in so many chunks, and all that are asked for in so many together.
MOST_TERMS, MOST_PLACES, ALL_PLACES = 48, 500, 2_000
# A question in words may take longer: 200,000 places are some 0.2 s. Among so many candidates the right one is for 99 %
# of the tuned questions of tests/eval/questions.toml; SQLite's own order puts it among the first ten for 77 %.
QUESTION_PLACES, CANDIDATES = 200_000, 150
NAMES_WEIGHT = 5.0  # of names beside the text, in the order of candidates
MOST_NAMED = 5
MOST_WEIGHED = 20_000  # files of which a map is made: that takes some seconds and 150 MB
SAME_NAME = 200  # definitions of one name among which the best are chosen

_WORD = re.compile(r"[\w$]+")
_FILE = "roots.path, files.path, language"
_SYMBOL = "symbols.name, kind, scope, first, last, signature, doc"
_JOINED = "JOIN files ON files.id = file JOIN roots ON roots.id = root"


@dataclass(frozen=True, slots=True)
class Hit:
    root: str
    path: str  # from the root, with "/"
    language: str
    first: int  # its lines, the last one included
    last: int
    text: str  # of these lines, without the last line end
    score: float  # the higher the better, to be compared within one answer
    name: str = ""  # of the symbol that it is, or that it begins in
    kind: str = ""
    signature: str = ""
    doc: str = ""


class Search:
    """To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._node: tuple[int, int] | None = None
        self._common: set[str] = set()  # terms found to be in too many chunks; few, since they are common

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def definitions(self, name: str, limit: int = 10) -> list[Hit]:
        """What is called exactly this: what can be reached from outside first, and what is no test."""
        query = (
            f"SELECT file, {_FILE}, first, last, symbols.name, kind, signature, doc, scope FROM symbols {_JOINED}"
            " WHERE symbols.name = ? COLLATE NOCASE AND symbols.name = ? LIMIT ?"
        )
        rows = self._rows(query, (storable(name), storable(name), SAME_NAME))
        rows.sort(key=lambda row: (is_test(row[2]), row[10].count(".") + bool(row[10]), row[2].count("/"), row[1:5]))
        return [self._definition(row, 1 / (1 + rank)) for rank, row in enumerate(rows[:limit])]

    def place(self, path: Path) -> tuple[str, str] | None:
        """The root and the path there, as hits have them; None if the file is not in the index."""
        query = f"SELECT {_FILE} FROM files JOIN roots ON roots.id = root WHERE files.id = ?"
        for root, inside, _ in self._rows(query, (self._file(path),)):
            return root, inside
        return None

    def lines(self, path: Path, first: int, last: int) -> Hit | None:
        """Lines of a file without blank ones at their ends; None if all are blank or the file is not in the index."""
        file = self._file(path)
        query = f"SELECT {_FILE} FROM files JOIN roots ON roots.id = root WHERE files.id = ?"
        for root, inside, language in self._rows(query, (file,)):
            lines = dict(enumerate(self._lines(file, max(0, first), last), max(0, first)))
            filled = [number for number, line in lines.items() if line.strip()]
            if filled:
                text = "".join(lines[number] for number in range(filled[0], filled[-1] + 1))
                return Hit(root, inside, language, filled[0], filled[-1], text.rstrip("\r\n"), 1.0)
        return None

    def in_file(self, path: Path) -> list[Symbol]:
        """What a file defines, in its order."""
        query = f"SELECT {_SYMBOL} FROM symbols WHERE file = ? ORDER BY rowid"
        return [Symbol(*row) for row in self._rows(query, (self._file(path),))]

    def imports_in(self, path: Path) -> list[Import]:
        query = "SELECT module, names, alias FROM imports WHERE file = ? ORDER BY rowid"
        rows = self._rows(query, (self._file(path),))
        return [_import(*row) for row in rows]

    def scanned(self) -> float | None:
        """When all that is indexed was looked at for the last time, in seconds since 1970; None if it never was."""
        query = "SELECT min(scanned), count(*) = count(scanned) FROM roots"
        return next((when for when, all_of_it in self._rows(query) if all_of_it), None)

    def files(self) -> list[FileUses]:
        """Files with what they define, import and use, by their paths; of very many the first `MOST_WEIGHED`."""
        first = (
            "SELECT files.id FROM files JOIN roots ON roots.id = root ORDER BY roots.path, files.path"
            f" LIMIT {MOST_WEIGHED}"
        )
        query = (
            f"SELECT files.id, {_FILE}, uses.names FROM files JOIN roots ON roots.id = root"
            f" LEFT JOIN uses ON uses.file = files.id ORDER BY roots.path, files.path LIMIT {MOST_WEIGHED}"
        )
        symbols: dict[int, list[Symbol]] = {}
        in_order = f"SELECT file, {_SYMBOL} FROM symbols WHERE file IN ({first}) ORDER BY file, first, last DESC"
        for file, *row in self._rows(in_order):
            symbols.setdefault(file, []).append(Symbol(*row))
        imports: dict[int, list[Import]] = {}
        in_order = f"SELECT file, module, names, alias FROM imports WHERE file IN ({first}) ORDER BY rowid"
        for file, *row in self._rows(in_order):
            imports.setdefault(file, []).append(_import(*row))
        return [
            FileUses(
                (root, path),
                tuple(symbols.get(id, ())),
                tuple(names.split(" ")) if names else (),
                tuple(imports.get(id, ())),
            )
            for id, root, path, _, names in self._rows(query)
        ]

    def find(self, text: str, limit: int = 10, excluding: Path | None = None) -> list[Hit]:
        """Chunks that have the rarest terms in common with a text (BM25), the best first, few of the same file."""
        question = self._question(list(dict.fromkeys(tokens(storable(text)))))
        if not question:
            return []
        query = "SELECT rowid, bm25(chunk_terms, 0, 1) FROM chunk_terms WHERE chunk_terms MATCH ? LIMIT ?"
        ranked = sorted(self._rows(query, (f"text : ({question})", ALL_PLACES)), key=lambda row: (row[1], row[0]))
        excluded = self._file(excluding) if excluding is not None else -1
        hits: list[Hit] = []
        taken: dict[int, int] = {excluded: HITS_PER_FILE}
        for chunk, score in ranked:
            if len(hits) >= limit:
                break
            columns = f"SELECT file, {_FILE}, first, last, text FROM chunks {_JOINED} WHERE chunks.id = ?"
            for row in self._rows(columns, (chunk,)):
                if taken.get(row[0], 0) < HITS_PER_FILE:
                    taken[row[0]] = taken.get(row[0], 0) + 1
                    hits.append(self._chunk(row, -score))
        return hits

    def _question(self, asked: Sequence[str]) -> str:
        """The rarest terms, any of which may be there; if all of them are common ones, these, all of which must."""
        # Long names are rare ones: with those of a whole file one must begin somewhere.
        looked_at = sorted((term for term in asked if term not in self._common), key=len, reverse=True)[:MOST_TERMS]
        places = ", ".join("?" * len(looked_at))
        rows = self._rows(f"SELECT term, doc FROM term_counts WHERE term IN ({places})", looked_at)
        self._common.update(term for term, count in rows if count > MOST_PLACES)
        rare: list[str] = []
        room = ALL_PLACES
        for term, count in sorted(rows, key=lambda row: (row[1], row[0])):
            room -= count
            if room >= 0 and count <= MOST_PLACES:
                rare.append(f'"{term}"')
        if rare:
            return " OR ".join(rare)
        return " AND ".join(f'"{term}"' for term in asked if term in self._common)

    def passages(self, question: Question) -> tuple[list[Passage], dict[str, int], int]:
        """The passages among which the answer to a question is; how many passages have each of its own tokens; and how
        many there are."""
        total = next((count or 0 for (count,) in self._rows("SELECT max(id) FROM chunks")), 0)
        counts = self._counts(question.all_tokens)
        asked: list[str] = []
        room = QUESTION_PLACES
        for token, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
            room -= count
            if room >= 0 or not asked:
                asked.append(f'"{token}"')
        match = " OR ".join(asked)
        for phrase in question.phrases:
            said = " ".join(tokens(storable(phrase)))
            match = f'({match}) AND text : "{said}"' if said else match
        where, values = _where(question)
        if question.concepts and not match:
            return [], counts, total
        if question.concepts:
            ranks = (
                f"SELECT chunks.id AS chunk, bm25(chunk_terms, {NAMES_WEIGHT}, 1) AS rank FROM chunk_terms"
                f" JOIN chunks ON chunks.id = chunk_terms.rowid JOIN files ON files.id = file WHERE chunk_terms MATCH ?"
                f"{where} LIMIT {QUESTION_PLACES}"
            )
            values = [match, *values]
        else:
            ranks = (
                "SELECT chunks.id AS chunk, 0 AS rank FROM chunks JOIN files ON files.id = file"
                f" WHERE 1{where} ORDER BY path, first LIMIT {CANDIDATES}"
            )
        rows = self._rows(f"SELECT chunk FROM ({ranks}) ORDER BY rank, chunk LIMIT {CANDIDATES}", values)
        found = [passage for (chunk,) in rows for passage in self._passage(chunk)]
        return [each for each in found if _holds(each, question.phrases)], counts, total

    def named(self, question: Question) -> list[Passage]:
        """The definitions that have a name of a question, at most `MOST_NAMED` of each."""
        query = (
            f"SELECT file, {_FILE}, hash, buffer, {_SYMBOL} FROM symbols {_JOINED}"
            " WHERE symbols.name = ? COLLATE NOCASE AND symbols.name = ? LIMIT ?"
        )
        found = []
        for name in question.names:
            last = storable(name).rpartition(".")[2]
            same: list[tuple[int, Passage]] = []
            for file, *row in self._rows(query, (last, last, SAME_NAME)):
                symbol = Symbol(*row[5:])
                end = min(symbol.last, symbol.first + MOST_LINES - 1)
                passage = _passage([*row[:5], symbol.first, end], "", (symbol,))
                if question.allows(passage) and question.is_name_of(symbol, passage.path):
                    same.append((file, passage))
            for file, each in sorted(same, key=lambda pair: reach(pair[1]))[:MOST_NAMED]:
                found.append(replace(each, text="".join(self._lines(file, each.first, each.last))))
        return found

    def texts(self, question: Question) -> Iterator[Passage]:
        """All passages where a question may look, file by file; what they define is not asked for."""
        where, values = _where(question)
        query = (
            f"SELECT {_FILE}, hash, buffer, first, last, text FROM chunks {_JOINED}"
            f" WHERE 1{where} ORDER BY roots.path, files.path, first"
        )
        try:
            database = self._opened()
            for *row, text in database.execute(query, values) if database is not None else ():
                yield _passage(row, _text(text), ())
        except (sqlite3.Error, OSError, ValueError):
            self.close()

    def _passage(self, chunk: int) -> Iterator[Passage]:
        columns = f"SELECT file, {_FILE}, hash, buffer, first, last, text FROM chunks {_JOINED} WHERE chunks.id = ?"
        for file, *row, text in self._rows(columns, (chunk,)):
            yield _passage(row, _text(text), tuple(self._symbols(file, row[5], row[6])))

    def _symbols(self, file: int, first: int, last: int) -> list[Symbol]:
        """What is defined in some lines or around them."""
        query = f"SELECT {_SYMBOL} FROM symbols WHERE file = ? AND first <= ? AND last >= ? ORDER BY rowid"
        return [Symbol(*row) for row in self._rows(query, (file, last, first))]

    def _counts(self, asked: Sequence[str]) -> dict[str, int]:
        places = ", ".join("?" * len(asked))
        return dict(self._rows(f"SELECT term, doc FROM term_counts WHERE term IN ({places})", asked)) if asked else {}

    def _definition(self, row: Sequence[Any], score: float) -> Hit:
        file, root, path, language, first, last, name, kind, signature, doc = row[:10]
        end = min(last, first + MOST_LINES - 1)
        text = "".join(self._lines(file, first, end)).rstrip("\r\n")
        return Hit(root, path, language, first, end, text, score, name, kind, signature, doc)

    def _lines(self, file: int, first: int, last: int) -> list[str]:
        lines: dict[int, str] = {}
        query = "SELECT first, last, text FROM chunks WHERE file = ? AND last >= ? AND first <= ?"
        for start, stop, text in self._rows(query, (file, first, last)):
            lines.update(zip(range(start, stop + 1), split_lines(_text(text)), strict=False))
        return [lines.get(line, "\n") for line in range(first, last + 1)]  # between chunks lines are blank

    def _chunk(self, row: Sequence[Any], score: float) -> Hit:
        file, root, path, language, first, last, text = row
        query = (
            "SELECT name, kind, signature, doc FROM symbols WHERE file = ? AND first <= ? AND last >= ?"
            " ORDER BY first >= ? DESC, CASE WHEN first >= ? THEN first ELSE -first END LIMIT 1"
        )
        symbol = self._rows(query, (file, last, first, first, first)) or [("", "", "", "")]
        return Hit(root, path, language, first, last, _text(text).rstrip("\r\n"), score, *symbol[0])

    def _file(self, path: Path) -> int:
        """The file's number; -1 if it is not in the index."""
        query = "SELECT files.id FROM files JOIN roots ON roots.id = root WHERE roots.path = ? AND files.path = ?"
        for (root,) in self._rows("SELECT path FROM roots ORDER BY length(path) DESC"):
            place = Path(storable(str(path)))
            if place.is_relative_to(root):
                for (id,) in self._rows(query, (root, place.relative_to(root).as_posix())):
                    return int(id)
        return -1

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            database = self._opened()
            return [] if database is None else database.execute(query, values).fetchall()
        except (sqlite3.Error, OSError, ValueError):
            self.close()  # it may have been made anew meanwhile
            return []

    def _opened(self) -> sqlite3.Connection | None:
        status = os.stat(self.path)
        node = (status.st_dev, status.st_ino)
        if self._database is None or node != self._node:
            self.close()
            self._node = node
            self._common.clear()
            address = Path(os.path.abspath(self.path)).as_uri() + "?mode=ro"
            self._database = sqlite3.connect(
                address, timeout=1, uri=True, isolation_level=None, check_same_thread=False
            )
            if self._database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                self.close()
        return self._database


def _import(module: str, names: str, alias: str) -> Import:
    return Import(module, tuple(names.split("\n")) if names else (), alias)


def _passage(row: Sequence[Any], text: str, symbols: tuple[Symbol, ...]) -> Passage:
    root, path, language, hash, buffer, first, last = row
    return Passage(root, path, language, hash, bool(buffer), first, last, text, symbols)


def _where(question: Question) -> tuple[str, list[str]]:
    """What a question says of where to look, as the end of a condition and its values."""
    where, values = "", [*question.languages]
    if question.languages:
        where += f" AND language IN ({', '.join('?' * len(question.languages))})"
    if question.paths:
        where += f" AND ({' OR '.join(['files.path GLOB ?'] * len(question.globs))})"
        values += map(storable, question.globs)
    if question.used:
        words = " AND ".join(f'"{word}"' for word in _WORD.findall(storable(question.used)))
        where += " AND chunks.file IN (SELECT rowid FROM use_names WHERE use_names MATCH ?)"
        values.append(words)
    if question.kinds:
        where += (
            " AND EXISTS (SELECT 1 FROM symbols WHERE symbols.file = chunks.file AND symbols.first BETWEEN chunks.first"
            f" AND chunks.last AND kind IN ({', '.join('?' * len(question.kinds))}))"
        )
        values += question.kinds
    return where, values


def _holds(passage: Passage, phrases: Sequence[str]) -> bool:
    """Whether all phrases are there, in any case and however they are broken into lines."""
    text = " ".join(passage.text.lower().split()) if phrases else ""
    return all(phrase.lower() in text for phrase in phrases)


def _text(packed: bytes) -> str:
    try:
        return unpacked(packed)
    except sqlite3.DatabaseError:
        return ""
