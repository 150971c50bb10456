"""What there is to answer a question with: what it points at, and what the index of the workspace has for it.

A file that holds secrets, that ignore rules leave out or that `completion.disable` names is named and not given to a
model, whoever points at it. Files are read here, and nothing is written. Knows neither LSP nor models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabby_lsp.chat.commit import told
from tabby_lsp.chat.conversation import Excerpt, Material
from tabby_lsp.chat.references import CHANGES, FILE, SELECTION, SYMBOL, WORKSPACE, Reference, references
from tabby_lsp.index.answer import answer
from tabby_lsp.index.citation import Citation
from tabby_lsp.index.contents import is_secret
from tabby_lsp.index.current import rules_of
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.index.map import CHARACTERS_A_TOKEN, repository_map
from tabby_lsp.index.pieces import head
from tabby_lsp.index.plan import Plan
from tabby_lsp.index.question import BadQuestion, telling
from tabby_lsp.index.search import Search
from tabby_lsp.index.walk import Rules, read, why_skipped
from tabby_lsp.languages import language_of_path
from tabby_lsp.processes import git
from tabby_lsp.text import split_lines

# Excerpts for a question: the best ones whole, of the others so many lines. Many short ones hold the right one more
# often than few whole ones: in the same room for 36 of the 50 questions of tests/eval/chat.toml, and not for 27.
MOST_FOUND, WHOLE, MOST_LINES = 24, 2, 8
# A question of fewer words than this ("why?") is searched for with the one before it. Then the right excerpt is there
# for 64 % of such questions of tests/eval/chat.py, and else for 2 %.
FEW_WORDS = 3
MOST_USES = 4  # of a definition that is pointed at
MAP_TOKENS, CHANGES_TOKENS = 1000, 2000  # about: they are cut again where a model has less room
# Of a text that somebody points at no more is looked at: it would not go into the context of any model that runs here.
MOST_CHARACTERS = 400_000
# What a project tells helpers, the first that is there: agents.md, and what some had before it.
PROJECT_NOTES = ("AGENTS.md", "CLAUDE.md", ".github/copilot-instructions.md", "CONVENTIONS.md")
MOST_NOTES = 6_000  # characters of them

NO_SELECTION = "Nothing is selected, so there is nothing for @selection."
NO_CHANGES = "@changes: {why}"
NOT_GIVEN = "{name} is not given to a model: it is {why}."


NONE_DISABLED = Disabled()


@dataclass(frozen=True, slots=True)
class Attached:
    """Lines of a text that a face gives with a question: a selection, or a file. `path` is absolute, if it is a file.

    `text` is what stands there from `first` on, lines counted from 0; None: what the file says now.
    """

    path: Path | None
    first: int = 0
    last: int | None = None  # included; None: to the end
    text: str | None = None
    name: str = ""  # of a text that is no file


@dataclass(frozen=True, slots=True)
class Sources:
    """The workspace that is asked about. `note` says why it has no index, where `plan` is None.

    `buffers` gives the text of a file as an editor has it.
    """

    plan: Plan | None = None
    note: str = ""
    disabled: Disabled = NONE_DISABLED
    buffers: Callable[[Path], str | None] = lambda path: None

    def open(self) -> Search:
        return Search(Path(self.plan.database) if self.plan else Path(os.devnull))


def material(
    sources: Sources, question: str, attached: Sequence[Attached] = (), before: str = "", most: int = MOST_FOUND
) -> Material:
    """All that there is for a question, what it points at first. Waits for files and the index.

    `before` is the question before it: one that says little by itself goes on from that.
    """
    spoken, pointed = references(question)
    gathered = _Gathered(sources)
    for each in attached:
        gathered.attach(each)
    search = sources.open()
    try:
        for reference in pointed:
            gathered.resolve(reference, search, has_selection=bool(attached))
        goes_on = bool(before) and len(telling(spoken)) < FEW_WORDS
        searched = gathered.search(f"{references(before)[0]} {spoken}" if goes_on else spoken, search, most)
    finally:
        search.close()
    return Material(spoken, tuple(gathered.excerpts), searched, gathered.project(), tuple(gathered.notes))


def why_withheld(sources: Sources, file: Path) -> str:
    """Why a file is not given to a model; "" if it is. Looks at the file."""
    return _Gathered(sources).why_withheld(file)


def changes(sources: Sources, folder: Path, tokens: int) -> tuple[str, tuple[str, ...]]:
    """What a commit of a folder's repository would hold, in about so many tokens, and the files whose text is kept from
    models. Raises GitError."""
    return told(git.changes(folder).diff, tokens, _tokens, _Gathered(sources).is_withheld)


class _Gathered:
    """The excerpts for one question, nothing twice."""

    def __init__(self, sources: Sources) -> None:
        self.excerpts: list[Excerpt] = []
        self.notes: list[str] = []
        self._sources = sources
        self._rules = rules_of(sources.plan) if sources.plan else {}

    # --- what is pointed at

    def attach(self, each: Attached) -> None:
        if each.path is None:
            text = (each.text or "")[:MOST_CHARACTERS]
            if text.strip():
                self.excerpts.append(Excerpt(each.name or "a text", text, asked=True))
            return
        root, path = self._place(each.path)
        name = path or str(each.path)
        if why := self.why_withheld(each.path):
            self.notes.append(NOT_GIVEN.format(name=name, why=why))
            return
        said = self._text(each.path) if each.text is None else each.text
        if said is None:
            self.notes.append(f"{name} cannot be read.")
            return
        lines = split_lines(said[:MOST_CHARACTERS])
        if each.text is None:
            lines = lines[each.first : None if each.last is None else each.last + 1]
        self._add(root, name, each.first, lines, "selected" if each.text is not None else "")

    def resolve(self, reference: Reference, search: Search, has_selection: bool) -> None:
        if reference.kind == SELECTION and not has_selection:
            self.notes.append(NO_SELECTION)
        elif reference.kind == FILE:
            self._file(reference.value)
        elif reference.kind == SYMBOL:
            self._symbol(reference.value, search)
        elif reference.kind == WORKSPACE:
            self._map(search)
        elif reference.kind == CHANGES:
            self._changes()

    def _file(self, name: str) -> None:
        """A file by its path in the workspace; nothing outside of it is read for an `@`."""
        for folder in self._sources.plan.folders if self._sources.plan else ():
            path = Path(os.path.normpath(os.path.join(folder, name)))
            if path.is_relative_to(folder) and (os.path.lexists(path) or self._sources.buffers(path) is not None):
                self.attach(Attached(path))
                return
        where = "in this workspace" if self._sources.plan else f"to be had: {self._sources.note}"
        self.notes.append(f"@file {name}: there is no such file {where}.")

    def _symbol(self, name: str, search: Search) -> None:
        found = [
            each
            for each in self._answers(name, search, MOST_FOUND)
            if each.name == name or each.name.endswith(f".{name}") or each.name.endswith(name.rpartition("::")[2])
        ]
        for each in found[:2]:
            self.cite(each, asked=True)
        uses = self._answers(f"uses:{name}", search, MOST_USES) if found else []
        for each in uses:
            self.cite(each)
        if not found:
            self.notes.append(f"@symbol {name}: nothing of that name is defined in this workspace.")

    def _map(self, search: Search) -> None:
        lines = []
        for each in repository_map(search.files(), MAP_TOKENS):
            if self._why_not(*each.file, Path(*each.file)):
                continue
            lines.append(each.file[1])
            lines += ["    " * (entry.depth + 1) + head(entry.symbol).split("\n")[0] for entry in each.entries]
        if lines:
            title = "The files and definitions that the rest of the repository uses most"
            self.excerpts.append(Excerpt(title, "\n".join(lines), asked=True))
        else:
            self.notes.append(f"@workspace: there is no index yet. {self._sources.note}".strip())

    def _changes(self) -> None:
        if self._sources.plan is None:
            self.notes.append(NO_CHANGES.format(why=self._sources.note or "no folder is open."))
            return
        try:
            found = git.changes(Path(self._sources.plan.folders[0]))
        except git.GitError as error:
            self.notes.append(NO_CHANGES.format(why=error))
            return
        diff, withheld = told(found.diff, CHANGES_TOKENS, _tokens, self.is_withheld)
        title = f"What has changed since the last commit{', as it is staged' if found.staged else ''}"
        self.excerpts.append(Excerpt(title, diff, "diff", asked=True))
        self.notes += [NOT_GIVEN.format(name=each, why="a file that is kept from models") for each in withheld]

    def is_withheld(self, path: str) -> bool:
        return is_secret(path) or self._sources.disabled.names(path)

    # --- what is found

    def search(self, question: str, search: Search, most: int) -> bool:
        """Adds what the index has for a question. Whether it could be asked."""
        if self._sources.plan is None:
            return False
        for rank, each in enumerate(self._answers(question, search, most)):
            self.cite(each if rank < WHOLE else _begun(each))
        return True

    def _answers(self, question: str, search: Search, most: int) -> list[Citation]:
        if self._sources.plan is None:
            return []
        try:
            found = answer(search, question, most, self._rules)
        except BadQuestion as error:
            self.notes.append(f"The repository was not searched: {error}")
            return []
        if found.note and found.note not in self.notes:
            self.notes.append(found.note)
        return [each for each in found.citations if not self._sources.disabled.names(each.path)]

    def cite(self, found: Citation, asked: bool = False) -> None:
        kind = f"{found.kind} {found.name}" if found.name else ""
        self._add(found.root, found.path, found.first, split_lines(found.text), kind, found.language, asked)

    def _add(
        self,
        root: str,
        path: str,
        first: int,
        lines: Sequence[str],
        what: str = "",
        language: str = "",
        asked: bool = True,
    ) -> None:
        """Some lines of a file, unless they are there already."""
        text = "".join(lines).rstrip("\r\n")
        last = first + len(split_lines(text)) - 1
        same = [each for each in self.excerpts if (each.root, each.path) == (root, path)]
        if not text.strip() or any(each.first <= first and last <= each.last for each in same):
            return
        shown = f"line {first + 1}" if first == last else f"lines {first + 1}-{last + 1}"
        title = ", ".join(filter(None, (path, shown, what)))
        language = language or language_of_path(path)
        self.excerpts.append(Excerpt(title, text, language, 0, root, path, first, last, asked))

    def project(self) -> tuple[str, str]:
        """The name and text of the repository's notes for helpers."""
        for folder in self._sources.plan.folders[:1] if self._sources.plan else ():
            for name in PROJECT_NOTES:
                path = Path(folder, name)
                if not self._why_not(folder, name, path) and (text := self._text(path)):
                    return name, text[:MOST_NOTES].strip()
        return "", ""

    # --- files

    def why_withheld(self, file: Path) -> str:
        return self._why_not(*self._place(file), file)

    def _place(self, path: Path) -> tuple[str, str]:
        """The folder of the workspace that holds a file, and its path there; "" for both where none does."""
        plan = self._sources.plan
        return (plan.place_of(path) if plan else None) or ("", "")

    def _why_not(self, root: str, path: str, file: Path) -> str:
        """Why a file is not given to a model; "" if it is."""
        if is_secret(path or file.as_posix()):
            return "a file that may hold secrets"
        if self._sources.disabled.names(path or file.as_posix().strip("/")):
            return "named by completion.disable"
        rules = self._rules.get(root, Rules())
        rules = replace(rules, most_bytes=max(rules.most_bytes, 4 * MOST_CHARACTERS))
        unsaved = self._sources.buffers(file) is not None
        top = Path(root) if root else _repository(file)
        why = why_skipped(top, path or file.relative_to(top).as_posix(), rules, unsaved)
        return "" if why in _HARMLESS else why

    def _text(self, path: Path) -> str | None:
        text = self._sources.buffers(path)
        text = read(path, 4 * MOST_CHARACTERS) if text is None else text
        return None if text is None else text[:MOST_CHARACTERS]


def _tokens(text: str) -> int:
    return int(len(text) / CHARACTERS_A_TOKEN)


def _begun(found: Citation) -> Citation:
    """The lines of a citation from a little above that to which one jumps."""
    lines = split_lines(found.text)
    first = max(0, min(found.line - found.first - 1, len(lines) - MOST_LINES))
    text = "".join(lines[first : first + MOST_LINES]).rstrip("\r\n")
    return replace(
        found, first=found.first + first, last=found.first + min(first + MOST_LINES, len(lines)) - 1, text=text
    )


def _repository(file: Path) -> Path:
    """The folder whose ignore rules hold for a file that is in no folder of the workspace."""
    return next((each for each in file.parents if os.path.lexists(each / ".git")), file.parent)


# Why a file is not indexed though nobody has said that it must not be read: who points at it may ask about it.
_HARMLESS = ("generated", "minified", "data")
