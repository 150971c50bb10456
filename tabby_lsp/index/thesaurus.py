"""Words that mean nearly the same in programs, from `thesaurus.txt`, so that a question need not guess the names.

Without it the right definition comes first for 41 % of the questions that the search was tuned with and for 43 % of
those kept aside, with it for 59 and 60 % (`tests/eval/search.py`, commit 98ba401).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from tabby_lsp.index.words import stem

Stems = tuple[str, ...]  # of a word, or of several that belong together


@cache
def thesaurus() -> Mapping[Stems, frozenset[str]]:
    """By the stems of what may stand in a question: the stems of the words that mean nearly the same."""
    groups: dict[Stems, set[str]] = {}
    for line in files("tabby_lsp.index").joinpath("thesaurus.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        members = [tuple(stem(word) for word in member.split()) for member in line.split(",")]
        single = {member[0] for member in members if len(member) == 1}
        for member in filter(None, members):
            groups.setdefault(member, set()).update(single)
    return {member: frozenset(group.difference(member)) for member, group in groups.items()}
