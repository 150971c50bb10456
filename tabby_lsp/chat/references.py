"""What a question points at by `@`: the names, and where they stand in it. Opens no file."""

from __future__ import annotations

import re
from dataclasses import dataclass

SELECTION, FILE, SYMBOL, CHANGES, WORKSPACE = "selection", "file", "symbol", "changes", "workspace"

# For who completes them: each with what it brings in.
KINDS = {
    SELECTION: "what is selected in the editor",
    FILE: "a file: @file shop/cart.py",
    SYMBOL: "a definition and where it is used: @symbol Cart.total",
    CHANGES: "what has changed since the last commit (git diff)",
    WORKSPACE: "the files and definitions that matter most",
}
_SPOKEN = {SELECTION: "the selection", CHANGES: "the changes", WORKSPACE: "the workspace"}

_REFERENCE = re.compile(
    rf"(?<![\w@/.])@(?:({SELECTION}|{CHANGES}|{WORKSPACE})\b"
    rf'|({FILE}|{SYMBOL})(?::[ \t]*|[ \t]+)(?:"([^"\n]+)"|`([^`\n]+)`|([^\s"`]+)))'
)
_TRAILING = ",;:?!)]}'"  # of the sentence, not of the name; a dot, too, but for that of `..`
_FENCED = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?(?:^[ \t]*\2|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    kind: str
    value: str = ""


def references(question: str) -> tuple[str, tuple[Reference, ...]]:
    """The question in plain words, as the model reads it, and what it points at. Code in it points at nothing."""
    found: dict[Reference, None] = {}

    def spoken(match: re.Match[str]) -> str:
        kind, named, *values = match.groups()
        if kind:
            found[Reference(kind)] = None
            return _SPOKEN[kind]
        value: str = next(filter(None, values))
        name = value
        if values[2]:  # not in quotes: what ends the sentence does not belong to it
            name = value.rstrip(_TRAILING)
            name = name[:-1] if name.endswith(".") and not name.endswith("..") else name
        if not name:
            return match[0]
        found[Reference(named, name)] = None
        return f"`{name}`" + value[len(name) :]

    parts, place = [], 0
    for code in _FENCED.finditer(question):
        parts += [_REFERENCE.sub(spoken, question[place : code.start()]), code[0]]
        place = code.end()
    parts.append(_REFERENCE.sub(spoken, question[place:]))
    return "".join(parts), tuple(found)


def beginning(text: str) -> str | None:
    """What of a name of a reference stands at the end of a text, to be completed; None where none begins."""
    match = re.search(r"(?<![\w@/.])@(\w*)$", text)
    return match[1] if match else None
