"""What a model says to itself before it answers, told apart from the answer while both are written.

Only at the beginning of an answer: `<think>` further on is a word of it, as in an answer about this file.
"""

from __future__ import annotations

from dataclasses import dataclass

# How models in use mark them: Qwen3, DeepSeek-R1 and SmolLM3; Magistral; and what others were seen to write.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",
}
TEXT, THOUGHT = "text", "thought"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what a model writes; `kind` is TEXT or THOUGHT."""

    kind: str
    text: str


def opens_thought(prompt: str) -> bool:
    """Whether a prompt ends within thoughts, as some templates have it."""
    return prompt.rstrip().endswith(tuple(TAGS))


class Thoughts:
    """Tells apart a text that comes in pieces, cut anywhere: also in the middle of a tag."""

    def __init__(self, within: bool = False) -> None:
        """`within`: it begins in the middle of a thought."""
        self._ends: tuple[str, ...] = tuple(TAGS.values()) if within else ()  # of the thought that has begun
        self._answers = False  # nothing more is a thought
        self._held = ""  # what may become a tag

    def feed(self, text: str) -> list[Piece]:
        """What is now known of the text so far."""
        text, self._held = self._held + text, ""
        found: list[Piece] = []
        while text:
            if self._answers:
                found.append(Piece(TEXT, text))
                break
            if self._ends:
                text = self._thought(text, found)
            else:
                text = self._beginning(text)
        return found

    def end(self) -> list[Piece]:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return [Piece(THOUGHT if self._ends else TEXT, held)] if held else []

    def _thought(self, text: str, found: list[Piece]) -> str:
        """What stands behind the end of the thought, if it ends here."""
        ends = [(place, tag) for tag in self._ends if (place := text.find(tag)) >= 0]
        place, tag = min(ends, default=(len(text) - _unfinished(text, self._ends), ""))
        if text[:place]:
            found.append(Piece(THOUGHT, text[:place]))
        if tag:
            self._ends = ()
        else:
            self._held = text[place:]
            return ""
        return text[place + len(tag) :]

    def _beginning(self, text: str) -> str:
        """What is left when a tag that stands at the beginning has been read; blanks there say nothing."""
        text = text.lstrip()
        for tag, end in TAGS.items():
            if text.startswith(tag):
                self._ends = (end,)
                return text[len(tag) :]
        if any(tag.startswith(text) for tag in TAGS):
            self._held = text
            return ""
        self._answers = True
        return text


def _unfinished(text: str, tags: tuple[str, ...]) -> int:
    """How many characters at the end of a text may be the beginning of a tag."""
    longest = max(map(len, tags)) - 1
    return next((size for size in range(min(longest, len(text)), 0, -1) if text.endswith(_heads(tags, size))), 0)


def _heads(tags: tuple[str, ...], size: int) -> tuple[str, ...]:
    return tuple(tag[:size] for tag in tags if len(tag) > size)
