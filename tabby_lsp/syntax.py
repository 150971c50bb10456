"""Syntax trees as plain data: the only module that imports tree-sitter, and only when a text is parsed.

A text is parsed with every character as one byte (see `_as_bytes`), so that tree-sitter's bytes are our characters and
its rows our lines. Every parse has a limit of time and of size. Knows languages by name only, and no files.

Two generations of tree-sitter are served, since the grammars of the older one have no build for Python 3.13 and those
of the newer one are not loaded by the older library. The functions between the two comments below are the difference.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from tabby_lsp import languages

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser, Query, Tree

PARSE_MILLISECONDS = 1000
MOST_CHARACTERS = 2_000_000  # of a text that is parsed at all
MOST_ERROR_CHILDREN = 10_000  # of an ERROR node: tree-sitter's queries take time with the square of them

_LETTERS = re.compile(r"[^\W\x00-\x7f]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_LONE_RETURN = re.compile(r"\r(?!\n)")
_PATTERN_BREAK = re.compile(r"\n\s*\n")
_CAPTURE = re.compile(r'("(?:\\.|[^"\\])*"|;[^\n]*)|@([\w.-]+)')  # what is no capture, or the name of one


class Capture(NamedTuple):
    """A node that a query names. Not a dataclass, since it is made for every identifier of a workspace."""

    name: str
    pattern: int  # that names it
    start: int
    end: int
    first: int
    last: int


class Reading(NamedTuple):
    """What a query finds. Identifiers are most of it, and only where they begin and end is asked of them."""

    captures: list[Capture]
    identifiers: list[tuple[int, int]]  # all that the query calls `@reference`, in their order
    names: Mapping[int, frozenset[str]]  # what each pattern has names for: see `Capture.pattern`


def has_grammar(language: str) -> bool:
    return bool(languages.language(language).grammar)


def read(text: str, language: str, query: str, milliseconds: int = PARSE_MILLISECONDS) -> Reading | None:
    """What a query finds, in parts of the text with syntax errors as far as something is understood there.

    Captures come without their matches, and some of matches that fail at a later capture (see `_captures`).

    None if there is no grammar, or if the text is too large, takes too long or is not in this language at all.
    Patterns of the query are separated by blank lines; one that the grammar at hand does not know is left out.
    """
    grammar = languages.language(language).grammar
    tree = _tree(text, grammar, milliseconds)
    if tree is None or any(_is_wide(node) for node in _faults(tree.root_node)):
        return None
    compiled = _query(grammar, query)
    found = Reading([], [], compiled.names)
    for node, label in _captures(compiled.query, tree.root_node):
        pattern, name = compiled.labels[label]
        start, end = node.start_byte, node.end_byte
        if name == "reference":
            found.identifiers.append((start, end))
            continue
        last, column = node.end_point
        # A node that ends with a line end would otherwise reach into the line behind it.
        last = last if column or start == end else last - 1
        found.captures.append(Capture(name, pattern, start, end, node.start_point[0], last))
    return found


def errors(text: str, language: str, milliseconds: int = PARSE_MILLISECONDS) -> int | None:
    """Number of places where the text is not of its language; None as for `read`."""
    tree = _tree(text, languages.language(language).grammar, milliseconds)
    return None if tree is None else sum(1 for _ in _faults(tree.root_node))


def _tree(text: str, grammar: str, milliseconds: int) -> Tree | None:
    if not grammar or len(text) > MOST_CHARACTERS:
        return None
    parser = _parser(grammar)
    return None if parser is None else _parse(parser, _as_bytes(text), milliseconds)


def _as_bytes(text: str) -> bytes:
    """The text with one byte for each character: other letters become an x, other signs a blank.

    That changes no structure, as languages allow them in names, strings and comments only. A lone carriage return
    becomes the line end that it is for us.
    """
    if not text.isascii():
        text = _NOT_ASCII.sub(" ", _LETTERS.sub("x", text))
    if "\r" in text:
        text = _LONE_RETURN.sub("\n", text)
    return text.encode("ascii")


def _faults(root: Node) -> Iterable[Node]:
    """The ERROR and MISSING nodes of a tree."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.is_error or node.is_missing:
            yield node
        if node.has_error and not _is_wide(node):
            pending.extend(node.children)


def _is_wide(node: Node) -> bool:
    return node.is_error and node.child_count > MOST_ERROR_CHILDREN


@cache
def _language(grammar: str) -> Language | None:
    try:
        return _load(grammar)
    except (ImportError, OSError, LookupError, AttributeError, TypeError, ValueError):
        return None  # a broken or incomplete installation costs the grammar, not the file


@cache
def _parser(grammar: str) -> Parser | None:
    language = _language(grammar)
    return None if language is None else _new_parser(language)


class _Query(NamedTuple):
    query: Query
    labels: Mapping[str, tuple[int, str]]  # of a label the pattern and the name
    names: Mapping[int, frozenset[str]]


@cache
def _query(grammar: str, text: str) -> _Query:
    """The patterns of a query that the grammar knows."""
    language = _language(grammar)
    assert language is not None, "a tree was made with it"
    known = {number: _labelled(each, number) for number, each in enumerate(patterns(text)) if _knows(language, each)}
    labels = {
        found[2]: (number, found[2].partition("_")[2])
        for number, each in known.items()
        for found in _CAPTURE.finditer(each)
        if found[2]
    }
    names = {number: frozenset(name for where, name in labels.values() if where == number) for number in known}
    return _Query(_compile(language, "\n".join(known.values())), labels, names)


def _labelled(pattern: str, number: int) -> str:
    """A pattern whose captures say which one it is."""
    return _CAPTURE.sub(lambda found: found[1] or f"@{number}_{found[2]}", pattern)


def patterns(query: str) -> list[str]:
    return [each.strip() for each in _PATTERN_BREAK.split(query) if each.strip()]


def unknown_patterns(language: str, query: str) -> list[str]:
    """The patterns of a query that are left out with the grammars at hand."""
    grammar = _language(languages.language(language).grammar)
    return patterns(query) if grammar is None else [each for each in patterns(query) if not _knows(grammar, each)]


def _knows(language: Language, pattern: str) -> bool:
    try:
        _compile(language, _labelled(pattern, 0))
    except (NameError, SyntaxError, ValueError, AttributeError, TypeError, RuntimeError):
        return False
    return True


# The two generations of tree-sitter.

if sys.version_info >= (3, 13):
    _CHUNK = 1 << 14

    def _load(grammar: str) -> Language:
        from tree_sitter_language_pack import get_language

        name: Any = grammar  # of a long list of names in its type
        return get_language(name)

    def _new_parser(language: Language) -> Parser:
        from tree_sitter import Parser

        return Parser(language)

    def _parse(parser: Parser, source: bytes, milliseconds: int) -> Tree | None:
        """Stopped by an early end of the text: the callback that is meant for this ends the process (0.25 and 0.26)."""
        until = time.monotonic() + milliseconds / 1000
        late = False
        view = memoryview(source)  # a slice of bytes may be the same bytes, of which nobody else's may be given back
        given: list[bytes] = []

        def read(place: int, _: object) -> bytes:
            nonlocal late
            late = late or time.monotonic() > until
            given.append(b"" if late else bytes(view[place : place + _CHUNK]))
            return given[-1]

        tree = parser.parse(read)
        while given:
            _let_go(given.pop())
        return None if late else tree

    def _let_go(chunk: bytes) -> None:
        """Gives back what the library forgets to (0.25, 0.26): a reference to all that a callback has ever returned,
        190 kB for a text of 100 kB. A version that does not forget leaves nothing to count.
        """
        other = bytes(2)
        if sys.getrefcount(chunk) == sys.getrefcount(other) + 1:
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(chunk))

    def _compile(language: Language, text: str) -> Query:
        from tree_sitter import Query

        return Query(language, text)

    def _captures(query: Query, root: Node) -> Iterable[tuple[Node, str]]:
        from tree_sitter import QueryCursor

        for _, match in QueryCursor(query).matches(root):
            for label, nodes in match.items():
                for node in nodes:
                    yield node, label

else:
    _OLD_NAMES: Mapping[str, str] = {"csharp": "c_sharp", "embeddedtemplate": "embedded_template"}

    def _load(grammar: str) -> Language:
        from tree_sitter_languages import get_language  # type: ignore[import-untyped]

        with warnings.catch_warnings():
            # The package calls tree-sitter in a way that is to go away, which concerns nobody who runs this.
            warnings.simplefilter("ignore", FutureWarning)
            language: Language = get_language(_OLD_NAMES.get(grammar, grammar))
        return language

    def _new_parser(language: Language) -> Parser:
        from tree_sitter import Parser

        parser = Parser()
        parser.set_language(language)
        return parser

    def _parse(parser: Parser, source: bytes, milliseconds: int) -> Tree | None:
        parser.set_timeout_micros(max(1, milliseconds * 1000))
        try:
            return parser.parse(source, keep_text=False)
        except ValueError:
            parser.reset()  # or the next text would be taken for the rest of this one
            return None

    def _compile(language: Language, text: str) -> Query:
        return language.query(text)

    def _captures(query: Query, root: Node) -> Iterable[tuple[Node, str]]:
        """All captures in the order of the text.

        `matches` loses 64 bytes with each match (0.21.3), which are 300 kB for a text of 100 kB; this loses none. But
        it hands out what a match has found before the match has come to its end: behind a `(_ …)` that may fail.
        """
        captures: list[tuple[Node, str]] = query.captures(root)
        return captures


# The end of the difference.
