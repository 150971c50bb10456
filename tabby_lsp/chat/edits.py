"""An edit by instruction: the model writes a passage of a file anew, and what differs is the edit.

Small models keep to whole passages in one fence far better than to diffs or line numbers (Aider's edit benchmark: 100 %
of answers well formed for Qwen2.5-Coder of 0.5 to 14 B). So the difference is made here. Lines of passages end with
"\\n", as of any text that a model sees. Pure functions.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

LONGEST_COMMENT = 120  # characters of one that stands for code
MOST_LINES = 400  # of a passage: a model writes every one of them, and small ones lose the thread of longer texts

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^`\n]*)$", re.MULTILINE)
_BLANKS = re.compile(r"[ \t]*")
# A comment that stands for code: "# ... existing code ...", "// rest of the function unchanged", "<!-- as before -->".
_COMMENT = re.compile(r"^[ \t]*(?:#|//|--|/\*|\*|<!--|;+|%)[ \t!]*(.*)$", re.MULTILINE)
_DOTS = r"(?:\.{3,}|…)"
_WHAT = r"(?:code|functions?|methods?|class|file|implementation|logic|lines|body)"
_LEFT_OUT = re.compile(
    rf"\W*{_DOTS}\W*$|.*{_DOTS}.*\b(?:rest|existing|remaining|other|previous|same|unchanged|{_WHAT})\b"
    rf"|.*\b(?:rest|existing|remaining|other|previous|same|unchanged|{_WHAT})\b.*{_DOTS}"
    rf"|\W*(?:the )?(?:(?:rest|remainder) of (?:the|this|your) |existing |remaining |original )(?:\w+ )?{_WHAT}\W*$"
    r"|.*\b(?:(?:re?main|stay|is|are|code|function|class|method)s? (?:unchanged|the same|as before|omitted))\W*$"
    r"|\W*(?:unchanged|omitted|same as (?:before|above|original))\W*$",
    re.IGNORECASE,
)


class NoEdit(Exception):
    """An answer is no edit; the text says why, and what to try."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """The old lines from `first` up to `end` (counted from 0, `end` is not one of them) become `lines`.

    Each line has its line end, but for the last one of a text that has none.
    """

    first: int
    end: int
    lines: tuple[str, ...]


def rewritten(answer: str, passage: str, ended: bool = True) -> str:
    """What a passage becomes by a model's answer. `ended`: the model ended it, and was not cut off.

    The indentation is the passage's, and so is whether its last line ends. Raises NoEdit.
    """
    code = _code_of(answer, passage, ended)
    lines = indented_as(code, passage)
    text = "\n".join(lines).strip("\n")
    if not text.strip() and passage.strip():
        raise NoEdit(
            "The model wrote nothing in the place of the passage. Say in the instruction what should stand there."
        )
    if left_out := _left_out(text, passage):
        raise NoEdit(f"The model left code out ({left_out!r}). Select fewer lines, or try a larger model.")
    before = passage[: len(passage) - len(passage.lstrip("\n"))]
    after = passage[len(passage.rstrip("\n")) :]
    text = f"{before}{text}{after}" if passage.strip() else f"{text}{after or chr(10)}"
    if text == passage:
        raise NoEdit("The model changed nothing. Say more exactly what should change.")
    return text


def written_so_far(answer: str, passage: str) -> str:
    """What of a passage's new text an answer holds that is still being written; its last line may be a part of one."""
    opening = _FENCE.search(answer)
    if opening is None or len(answer) <= opening.end():
        return ""
    code = answer[opening.end() + 1 :]
    closing = re.search(rf"^[ \t]*{re.escape(opening[1])}", code, re.MULTILINE)
    lines = (code[: closing.start()] if closing else code).lstrip("\n").split("\n")
    first = next((line for line in passage.split("\n") if line.strip()), "")
    wanted, found = (_BLANKS.match(line)[0] for line in (first, lines[0]))  # type: ignore[index]
    return "\n".join(wanted + line[len(found) :] if line.startswith(found) else line for line in lines)


def _code_of(answer: str, passage: str, ended: bool) -> str:
    """The code of an answer: its first fence, or all of it where it has none and looks like the passage."""
    opening = _FENCE.search(answer)
    if opening is None:
        known = {line.strip() for line in passage.split("\n") if line.strip()}
        if not ended:
            raise NoEdit(_CUT_OFF)
        if known and not any(line.strip() in known for line in answer.split("\n")):
            said = " ".join(answer.split())
            raise NoEdit(f"The model answered without code: {said[:200]}")
        return answer
    fence = opening[1]
    closing = re.compile(rf"^[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    end = closing.search(answer, opening.end())
    if end is None:
        if not ended:
            raise NoEdit(_CUT_OFF)
        raise NoEdit("The model did not end its code, so part of it may be missing. Try again, or select fewer lines.")
    return answer[opening.end() + 1 : end.start()]


_CUT_OFF = "The answer was cut off at its longest length. Select fewer lines, or raise max_tokens."


def _left_out(text: str, passage: str) -> str:
    """A comment that stands for code which the model did not write; empty if there is none."""
    for comment in _COMMENT.finditer(text):
        if len(comment[1]) < LONGEST_COMMENT and _LEFT_OUT.match(comment[1]) and comment[0].strip() not in passage:
            return comment[0].strip()
    return ""


def indented_as(code: str, passage: str) -> list[str]:
    """The lines of code, moved as a whole to the indentation of a passage, and in its unit where that is tabs.

    A model that is shown a method often writes it at the left margin.
    """
    lines = code.strip("\n").split("\n")
    if "\t" in _indentations(passage) and "\t" not in _indentations(code):
        unit = _unit(code)
        lines = [_with_tabs(line, unit) for line in lines]
    wanted, found = _common_indentation(passage.split("\n")), _common_indentation(lines)
    return [wanted + line[len(found) :] if line.strip() else "" for line in lines]


def _indentations(text: str) -> str:
    return "".join(_BLANKS.match(line)[0] for line in text.split("\n") if line.strip())  # type: ignore[index]


def _unit(text: str) -> int:
    """Blanks of one step of indentation."""
    depths = sorted({len(line) - len(line.lstrip(" ")) for line in text.split("\n") if line.strip()})
    steps = [deep - shallow for shallow, deep in itertools.pairwise(depths)]
    return min(steps, default=4)


def _with_tabs(line: str, unit: int) -> str:
    depth = len(line) - len(line.lstrip(" "))
    return "\t" * (depth // unit) + " " * (depth % unit) + line[depth:]


def _common_indentation(lines: Sequence[str]) -> str:
    """The white space that all lines begin with but for the blank ones."""
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    if not indents:
        return ""
    first, last = min(indents), max(indents)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


# --- differences


def hunks(old: str, new: str) -> tuple[Hunk, ...]:
    """The smallest change by lines, in the order of the lines."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    found = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return tuple(Hunk(a, b, tuple(after[c:d])) for tag, a, b, c, d in found if tag != "equal")


def hunks_so_far(old: str, partial: str) -> tuple[Hunk, ...]:
    """The hunks of a new text that is still being written, as far as they no longer change: those before the last line
    that is the same in both."""
    before, after = old.splitlines(keepends=True), partial.rpartition("\n")[0].splitlines(keepends=True)
    after = [line if line.endswith("\n") else line + "\n" for line in after]
    matches = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    last = next((match for match in reversed(matches) if match.size), None)
    if last is None:
        return ()
    return tuple(each for each in hunks("".join(before), "".join(after)) if each.end <= last.a)
