"""Syntax trees as plain data: the only module that imports tree-sitter, and only when a text is parsed.

A text is parsed with every character as one byte (see `_as_bytes`), so that tree-sitter's bytes are our characters and
its rows our lines. Every parse has a limit of time and of size. Knows languages by name only, and no files.

Two generations of tree-sitter are served, since the grammars of the older one have no build for Python 3.13 and those
of the newer one are not loaded by the older library. The functions between the two comments below are the difference.
"""

from __future__ import annotations

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


class Capture(NamedTuple):
    """A node that a query names. Not a dataclass, since it is made for every identifier of a workspace."""

    name: str
    match: int  # the same for the captures of one match
    start: int
    end: int
    first: int
    last: int


class Reading(NamedTuple):
    """What a query finds. Identifiers are most of it, and only where they begin and end is asked of them."""

    captures: list[Capture]
    identifiers: list[tuple[int, int]]  # all that the query calls `@reference`, in their order


def has_grammar(language: str) -> bool:
    return bool(languages.language(language).grammar)


def read(text: str, language: str, query: str, milliseconds: int = PARSE_MILLISECONDS) -> Reading | None:
    """What a query finds, in parts of the text with syntax errors as far as something is understood there.

    None if there is no grammar, or if the text is too large, takes too long or is not in this language at all.
    Patterns of the query are separated by blank lines; one that the grammar at hand does not know is left out.
    """
    grammar = languages.language(language).grammar
    tree = _tree(text, grammar, milliseconds)
    if tree is None or any(_is_wide(node) for node in _faults(tree.root_node)):
        return None
    found = Reading([], [])
    for number, (name, node) in _matches(_query(grammar, query), tree.root_node):
        start, end = node.start_byte, node.end_byte
        if name == "reference":
            found.identifiers.append((start, end))
            continue
        last, column = node.end_point
        # A node that ends with a line end would otherwise reach into the line behind it.
        last = last if column or start == end else last - 1
        found.captures.append(Capture(name, number, start, end, node.start_point[0], last))
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


@cache
def _query(grammar: str, text: str) -> Query:
    """The patterns of a query that the grammar knows."""
    language = _language(grammar)
    assert language is not None, "a tree was made with it"
    return _compile(language, "\n".join(each for each in patterns(text) if _knows(language, each)))


def patterns(query: str) -> list[str]:
    return [each.strip() for each in _PATTERN_BREAK.split(query) if each.strip()]


def unknown_patterns(language: str, query: str) -> list[str]:
    """The patterns of a query that are left out with the grammars at hand."""
    grammar = _language(languages.language(language).grammar)
    return patterns(query) if grammar is None else [each for each in patterns(query) if not _knows(grammar, each)]


def _knows(language: Language, pattern: str) -> bool:
    try:
        _compile(language, pattern)
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

        def read(place: int, _: object) -> bytes:
            nonlocal late
            late = late or time.monotonic() > until
            return b"" if late else source[place : place + _CHUNK]

        tree = parser.parse(read)
        return None if late else tree

    def _compile(language: Language, text: str) -> Query:
        from tree_sitter import Query

        return Query(language, text)

    def _matches(query: Query, root: Node) -> Iterable[tuple[int, tuple[str, Node]]]:
        from tree_sitter import QueryCursor

        for number, (_, nodes) in enumerate(QueryCursor(query).matches(root)):
            for name, several in nodes.items():
                for node in several:
                    yield number, (name, node)

else:
    _OLD_NAMES: Mapping[str, str] = {"csharp": "c_sharp"}

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

    def _matches(query: Query, root: Node) -> Iterable[tuple[int, tuple[str, Node]]]:
        for number, (_, nodes) in enumerate(query.matches(root)):
            for name, several in nodes.items():
                for node in several if isinstance(several, list) else (several,):
                    yield number, (name, node)


# The end of the difference.
