"""Facts about languages, from `languages.toml` and from the user's settings. Knows nothing else of the package."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from tabby_lsp.data import AdditionalLanguage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Language:
    """A row of `languages.toml`, which says what each column means; as it stands here for a language nobody knows."""

    id: str
    name: str = ""
    comment: str = ""
    after_blank: bool = False
    block: tuple[str, ...] = ()
    kind: str = "code"
    quotes: str = "\"'"
    characters: bool = False
    long: tuple[str, ...] = ('"""', "'''")
    complete: bool = False
    blocks: str = "end"
    body: str = ""
    typed: bool = False
    kin: str = ""
    tests: tuple[str, ...] = ()
    grammar: str = ""
    extensions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()  # with which a line at the top may begin, as the user's settings say

    @property
    def has_sentences(self) -> bool:
        """Most quotes are apostrophes, brackets are marks between words, and there are no names to complete."""
        return self.kind in ("prose", "markup")

    @property
    def has_statements(self) -> bool:
        return self.kind == "code"

    @property
    def block_comment(self) -> tuple[str, str]:
        """The marks around a comment of several lines, empty if there are none."""
        if self.block:
            return self.block[0], self.block[1]
        is_usual = self.comment == "//" or (not self.comment and not self.has_sentences)
        return ("/*", "*/") if is_usual else ("", "")


@dataclass(frozen=True, slots=True)
class Words:
    """How blocks begin, go on and end in lines: a row of `[words]`."""

    head: str = "(?!)"  # a pattern
    middles: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Languages by their LSP language id, and these ids by file extension and by whole name."""

    languages: Mapping[str, Language]
    of_extension: Mapping[str, str]
    of_name: Mapping[str, str]
    words: Mapping[str, Words]


@cache
def built_in() -> Table:
    rows = tomllib.loads(files("tabby_lsp").joinpath("languages.toml").read_text(encoding="utf-8"))
    words = {name: Words(**_frozen(row)) for name, row in rows.pop("words").items()}
    languages: dict[str, Language] = {}
    of_extension: dict[str, str] = {}
    of_name: dict[str, str] = {}
    for id, row in rows.items():
        aliases, names = row.pop("aliases", ()), row.pop("files", ())
        if row.get("kind") in ("prose", "markup"):
            row.setdefault("quotes", "")
        language = Language(id, **_frozen(row))
        languages |= dict.fromkeys((id, *aliases), language)
        of_extension |= dict.fromkeys(language.extensions, id)
        of_name |= dict.fromkeys(names, id)
    return Table(languages, of_extension, of_name, words)


def _frozen(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def laid_over(table: Table, additional: Iterable[AdditionalLanguage]) -> Table:
    """The table with a user's languages, the last one on top; what they leave out of a known language stays."""
    languages, of_extension = dict(table.languages), dict(table.of_extension)
    for each in additional:
        for id in each.languages:
            known = languages.get(id) or Language(id)
            comment, keywords = each.line_comment or known.comment, each.top_level_keywords or known.keywords
            languages[id] = replace(known, comment=comment, keywords=keywords)
        for extension in each.exts:
            if of_extension.get(extension) not in each.languages:
                of_extension[extension] = each.languages[0]
    return replace(table, languages=languages, of_extension=of_extension)


_in_use: Table | None = None


def use(additional: Iterable[AdditionalLanguage]) -> None:
    """From now on this process knows a user's languages. Called once, before anything is asked."""
    global _in_use
    _in_use = laid_over(built_in(), additional)


def language(id: str) -> Language:
    """The language of an LSP language id; one without name and comment marker for an unknown id."""
    return (_in_use or built_in()).languages.get(id) or Language(id)


def are_kin(one: str, other: str) -> bool:
    """Whether what is written in one of two languages may use what is defined in the other."""
    left, right = language(one), language(other)
    return left.id == right.id or left.kin == right.kin != ""


def words(id: str) -> Words:
    """How blocks begin, go on and end in the lines of a language."""
    return built_in().words.get(language(id).blocks, Words())


def find(word: str) -> str | None:
    """The LSP language id that a word in lower case means: the id itself, a name, an extension; None if none does."""
    table = _in_use or built_in()
    names = {each.name.lower(): each.id for each in reversed(list(table.languages.values())) if each.name}
    known = table.languages.get(word)
    return known.id if known else names.get(word) or table.of_extension.get(word)


def language_of_path(path: str, table: Table | None = None) -> str:
    """The LSP language id for a file's name, or "plaintext"."""
    name, known = PurePath(path).name.lower(), table or _in_use or built_in()
    return known.of_name.get(name) or known.of_extension.get(name.rpartition(".")[2], "plaintext")


def additional(values: object) -> AdditionalLanguage:
    """One of `additional_languages` as a configuration holds it. Raises ValueError with what it should have been."""
    if not isinstance(values, Mapping):
        raise ValueError("a table with `languages` and `exts`")
    table: Mapping[str, Any] = values
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key == "line_comment":
            right, what = isinstance(value, str), "a string"
        elif key in ("languages", "exts", "top_level_keywords"):
            strings = isinstance(value, list | tuple) and all(isinstance(each, str) and each for each in value)
            right, what = strings and (len(value) > 0 or key != "languages"), "a list of strings"
        elif key == "chunk_size":  # Tabby's, for an index that is cut by characters
            continue
        else:
            raise ValueError(f"a table of `languages`, `exts`, `line_comment` and `top_level_keywords`, not `{key}`")
        if not right:
            raise ValueError(f"a table whose `{key}` is {what}")
        found[key] = value.strip() if isinstance(value, str) else tuple(value)
    if "languages" not in found:
        raise ValueError("a table that names its `languages`")
    found["exts"] = tuple(each.lower().lstrip(".") for each in found.get("exts", ()))
    return AdditionalLanguage(**found)
