"""The files that belong to a file by their names: its tests, what it tests, the header of a source."""

from __future__ import annotations

import re
from pathlib import PurePath

from tabby_lsp import languages

_C_HEADERS = ("h", "hh", "hpp", "hxx")
# Folders and parts of names, besides what each language calls its tests.
_TEST = re.compile(r"(^|[/._-])(tests?|spec|testing|mocks?|bench(es)?|examples?)([/._-]|$)", re.IGNORECASE)

TEST, TESTED, HEADER, SOURCE = (
    "test of this file",
    "tested by this file",
    "header of this file",
    "source of this header",
)


def siblings(name: str) -> dict[str, str]:
    """Names that siblings of a file of this name may have, and what each would be to it."""
    stem, _, extension = name.rpartition(".")
    if not stem:
        return {}
    facts = languages.language(languages.language_of_path(name))
    kin = languages.extensions_of_kin(facts)
    sources = [each for each in kin if each not in _C_HEADERS]  # tests of C are programs, those of a header too
    ends = sorted(sources, key=lambda each: each != extension)
    found = {f"{tested}.{end}": TESTED for tested in _tested(stem, facts.tests) for end in ends}
    found |= {f"{pattern.format(stem)}.{end}": TEST for pattern in facts.tests for end in ends}
    if facts.kin == "c":
        others = sources if extension in _C_HEADERS else _C_HEADERS
        found |= {f"{stem}.{end}": SOURCE if extension in _C_HEADERS else HEADER for end in others}
    return found


def _tested(stem: str, patterns: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in patterns:
        before, after = pattern.split("{}")
        if stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after):
            found.append(stem[len(before) : len(stem) - len(after)])
    return found


def is_test(path: str) -> bool:
    """Whether a file is a test, or an example, by its path."""
    stem = PurePath(path).name.rpartition(".")[0]
    return bool(_TEST.search(path) or _tested(stem, languages.language(languages.language_of_path(path)).tests))
