"""Facts about languages, from `languages.toml`. Knows nothing else of the package."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Language:
    id: str
    name: str  # as models were trained with it; empty if unknown
    comment: str  # marker of a line comment; empty if there is none
    extensions: tuple[str, ...]
    grammar: str  # of tree-sitter; empty if none is used


def _row(id: str, name: str, comment: str, extensions: list[str], grammar: str = "") -> Language:
    return Language(id, name, comment, tuple(extensions), grammar)


@cache
def _all() -> dict[str, Language]:
    table = tomllib.loads(files("tabby_lsp").joinpath("languages.toml").read_text(encoding="utf-8"))
    return {id: _row(id, **row) for id, row in table.items()}


def language(id: str) -> Language:
    """The language of an LSP language id; one without name and comment marker for an unknown id."""
    return _all().get(id) or Language(id, "", "", (), "")


def language_of_path(path: str) -> str:
    """The LSP language id for a file's name, or "plaintext"."""
    name = PurePath(path).name.lower()
    extension = name.rpartition(".")[2]
    return next((each.id for each in _all().values() if extension in each.extensions), "plaintext")
