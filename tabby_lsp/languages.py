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
    id: str
    name: str  # as models were trained with it; empty if unknown
    comment: str  # marker of a line comment; empty if there is none
    grammar: str  # of tree-sitter; empty if none is used
    keywords: tuple[str, ...] = ()  # with which a line at the top may begin, as the user's settings say


@dataclass(frozen=True, slots=True)
class Table:
    """Languages by their LSP language id, and these ids by file extension."""

    languages: Mapping[str, Language]
    of_extension: Mapping[str, str]


@cache
def built_in() -> Table:
    rows = tomllib.loads(files("tabby_lsp").joinpath("languages.toml").read_text(encoding="utf-8"))
    languages = {id: Language(id, row["name"], row["comment"], row.get("grammar", "")) for id, row in rows.items()}
    return Table(languages, {extension: id for id, row in rows.items() for extension in row["extensions"]})


def laid_over(table: Table, additional: Iterable[AdditionalLanguage]) -> Table:
    """The table with a user's languages, the last one on top; what they leave out of a known language stays."""
    languages, of_extension = dict(table.languages), dict(table.of_extension)
    for each in additional:
        for id in each.languages:
            known = languages.get(id) or Language(id, "", "", "")
            comment, keywords = each.line_comment or known.comment, each.top_level_keywords or known.keywords
            languages[id] = replace(known, comment=comment, keywords=keywords)
        for extension in each.exts:
            if of_extension.get(extension) not in each.languages:
                of_extension[extension] = each.languages[0]
    return Table(languages, of_extension)


_in_use: Table | None = None


def use(additional: Iterable[AdditionalLanguage]) -> None:
    """From now on this process knows a user's languages. Called once, before anything is asked."""
    global _in_use
    _in_use = laid_over(built_in(), additional)


def language(id: str) -> Language:
    """The language of an LSP language id; one without name and comment marker for an unknown id."""
    return (_in_use or built_in()).languages.get(id) or Language(id, "", "", "")


def find(word: str) -> str | None:
    """The LSP language id that a word in lower case means: the id itself, a name, an extension; None if none does."""
    table = _in_use or built_in()
    names = {each.name.lower(): id for id, each in table.languages.items() if each.name}
    return word if word in table.languages else names.get(word) or table.of_extension.get(word)


def language_of_path(path: str, table: Table | None = None) -> str:
    """The LSP language id for a file's name, or "plaintext"."""
    name = PurePath(path).name.lower()
    return (table or _in_use or built_in()).of_extension.get(name.rpartition(".")[2], "plaintext")


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
