"""What a comment or docstring says, without its markers. Knows the usual markers of all languages together."""

from __future__ import annotations

import re

_OPENING = re.compile(
    r"\s*(?:[rRbBuUfF]{0,2}(?:\"\"\"|'''|\"|')|/\*+!?|\*/|\*+|//+!?|#+!?|--+(?:\[\[)?!?|%+|;+|\(\*+|\{-)?[ \t]?"
)
_CLOSING = re.compile(r"(?:\*+/|\"\"\"|'''|\"|'|\*\)|-\}|\]\])?\s*$")
_TAG = re.compile(r"</?(?:summary|remarks|para|p|code|inheritdoc)\s*/?>")
_LINE_END = re.compile(r"\r\n?|\n")
_MOST_LINES = 40


def first_paragraph(comment: str) -> str:
    """The first paragraph in one line; "" if there are no words."""
    words: list[str] = []
    for line in _LINE_END.split(comment)[:_MOST_LINES]:
        said = _TAG.sub("", _CLOSING.sub("", _OPENING.sub("", line, count=1), count=1)).strip()
        if said.startswith(("@", "\\param", ":param")) or (words and not said):
            break
        if said:
            words.append(said)
    paragraph = " ".join(words)
    return paragraph if any(each.isalnum() for each in paragraph) else ""
