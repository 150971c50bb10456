"""Answers without a model: what the index alone says of a name, or where it has the words of a question.

Exact names never depend on a model: this is also what a face may show beside a model's answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.chat.conversation import Excerpt
from tabby_lsp.chat.markdown import fenced
from tabby_lsp.chat.references import SYMBOL, references
from tabby_lsp.chat.sources import Sources
from tabby_lsp.index.answer import answer
from tabby_lsp.index.citation import Citation
from tabby_lsp.index.contents import is_test
from tabby_lsp.index.current import rules_of
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.pieces import inner_scope
from tabby_lsp.index.question import KINDS, BadQuestion
from tabby_lsp.index.search import Search

NOTHING_FOUND = "Nothing in the repository was found to fit this question."
NO_WORKSPACE = "There is no repository to look through. {note}"

MOST_LOOKED_AT = 40  # uses of a name, of which the best are shown
MOST_USES, MOST_TESTS, MOST_OTHERS, MOST_DEFINITIONS = 8, 5, 6, 3
# What one says to ask for something, and never means.
_ASKING = frozenset("explain describe show tell find list give document summarize summarise what where how why".split())
_NAME = re.compile(r"`([^`\n]+)`|([^\W\d]\w*(?:(?:\.|::)[^\W\d]\w*)*)")


@dataclass(frozen=True, slots=True)
class Found:
    """An answer in Markdown, in which `[n]` means an excerpt."""

    text: str
    excerpts: tuple[Excerpt, ...] = ()


def looked_up(sources: Sources, question: str) -> Found:
    """What the index says. Waits for it and for files."""
    if sources.plan is None:
        return Found(NO_WORKSPACE.format(note=sources.note).strip())
    spoken, pointed = references(question)
    search = sources.open()
    try:
        page = _Page(sources, search)
        for name in [each.value for each in pointed if each.kind == SYMBOL] or _names(spoken):
            if page.define(name):
                return page.found()
        page.list(spoken)
        return page.found()
    finally:
        search.close()


def _names(question: str) -> list[str]:
    """What in a question may be the name of a definition, the likeliest first: what stands in backticks, what is
    written as no word is, what stands behind "function" and the like, and then the other words."""
    found: list[tuple[int, str]] = []
    before = ""
    for match in _NAME.finditer(question):
        name = (match[1] or match[2]).removesuffix("()").strip()
        lower = name.lower()
        if match[1]:
            rank = 0
        elif "." in name or "::" in name or "_" in name or re.search(r"[a-z][A-Z]", name):
            rank = 1
        elif before in KINDS:
            rank = 2
        else:
            rank = 9 if lower in KINDS or lower in _ASKING else 4 if lower == name else 3
        before = lower
        if rank < 9 and name:
            found.append((rank, name))
    return list(dict.fromkeys(name for _, name in sorted(found, key=lambda each: each[0])))


class _Page:
    """An answer in the making."""

    def __init__(self, sources: Sources, search: Search) -> None:
        self._sources, self._search = sources, search
        self._rules = rules_of(sources.plan) if sources.plan else {}
        self._lines: list[str] = []
        self._excerpts: list[Excerpt] = []

    def found(self) -> Found:
        return Found("\n".join(self._lines).strip(), tuple(self._excerpts))

    def define(self, name: str) -> bool:
        """Says all that there is of a name; False if nothing is called so."""
        name = name.replace("::", ".")
        defined = [
            (each, symbol)
            for each in self._ask(name, MOST_DEFINITIONS + 5)
            if (symbol := self._symbol(each)) and (each.name == name or f".{each.name}".endswith(f".{name}"))
        ][:MOST_DEFINITIONS]
        if not defined and "." in name:
            return self.define(name.rpartition(".")[2])
        for each, symbol in defined:
            number = self._cite(each)
            self._lines += [f"`{each.name}` is a {symbol.kind} in {_code(each.path)} [{number}]:", ""]
            self._lines += [fenced(symbol.signature, each.language), ""]
            if symbol.doc:
                self._lines += [*(f"> {line}" for line in _plain(symbol.doc).split("\n")), ""]
        if defined:
            self._uses(name.rpartition(".")[2])
        return bool(defined)

    def _uses(self, name: str) -> None:
        # What is done with it within a definition says more than where it is imported.
        uses = sorted(self._ask(f"uses:{name}", MOST_LOOKED_AT), key=lambda each: not each.name)
        for title, some in (
            ("Used in", [each for each in uses if not is_test(each.path)][:MOST_USES]),
            ("Its tests", [each for each in uses if is_test(each.path)][:MOST_TESTS]),
        ):
            if some:
                self._lines += [f"{title}:", "", *map(self._use, some), ""]
        if not uses:
            self._lines += ["Nothing else in the repository uses it by this name.", ""]

    def _use(self, each: Citation) -> str:
        around = f"`{each.name}`, " if each.name else ""
        line = _code(each.text.strip()[:120])
        return f"- {around}{_code(each.path)} line {each.line + 1} [{self._cite(each)}]: {line}"

    def list(self, question: str) -> None:
        """Where the index has the words of a question."""
        try:
            found = self._ask(question, MOST_OTHERS)
        except BadQuestion as error:
            self._lines.append(str(error))
            return
        if not found:
            self._lines.append(NOTHING_FOUND)
            return
        self._lines += ["These places have most of its words:", ""]
        for each in found:
            what = f"{each.kind} `{each.name}`, " if each.name else ""
            symbol = self._symbol(each)
            doc = f": {_plain(symbol.doc).partition(chr(10))[0]}" if symbol and symbol.doc else ""
            self._lines.append(f"- {what}{_code(each.path)} line {each.line + 1} [{self._cite(each)}]{doc}")

    def _ask(self, question: str, most: int) -> Sequence[Citation]:
        found = answer(self._search, question, most, self._rules).citations
        return [each for each in found if not self._sources.disabled.names(each.path)]

    def _symbol(self, each: Citation) -> Symbol | None:
        """The definition that a citation is about."""
        for symbol in self._search.in_file(Path(each.root, each.path)):
            if inner_scope(symbol) == each.name and symbol.first <= each.line <= symbol.last:
                return symbol
        return None

    def _cite(self, each: Citation) -> int:
        number = len(self._excerpts) + 1
        title = f"{each.path}, lines {each.first + 1}-{each.last + 1}"
        self._excerpts.append(
            Excerpt(title, each.text, each.language, number, each.root, each.path, each.first, each.last)
        )
        return number


def _code(text: str) -> str:
    """A text as code within a line."""
    marks = "``" if "`" in text else "`"
    inner = f" {text} " if "`" in text else text
    return f"{marks}{inner}{marks}" if text else ""


def _plain(text: str) -> str:
    """Without what would number an excerpt."""
    return re.sub(r"\[(\d+)\]", r"(\1)", text)
