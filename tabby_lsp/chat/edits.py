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


def applied(old: str, changes: Sequence[Hunk]) -> str:
    """The inverse of `hunks`."""
    lines = old.splitlines(keepends=True)
    for hunk in sorted(changes, key=lambda each: each.first, reverse=True):
        lines[hunk.first : hunk.end] = hunk.lines
    return "".join(lines)


# --- where a block of code belongs

LEAST_FOUND = 0.4  # of a block's lines that must stand at its place, where no name says that it is the right one
_NAMED = re.compile(r"(?:[\w.]+[ \t]+)*[\w.:$]+(?=[ \t]*[(:{=<])")
_CLOSER = re.compile(r"[\])}]|end\b|fi\b|done\b|esac\b")


def place_of(block: str, text: str) -> tuple[int, int] | None:
    """The lines of a text, from the first up to the one behind the last, that a block of code is another form of; None
    where no place is sure.

    The place begins with the line that heads the block, or one of the same name with other parameters, and with what
    of the block stands above it. It ends where the indentation falls back, or else with the last line that is the same.
    """
    wanted = block.strip("\n").split("\n")
    said = [line.strip() for line in wanted if line.strip()]
    if not said:
        return None
    lines = text.split("\n")
    head = _head_of(wanted)
    candidates = []
    for at, line in enumerate(lines):
        if _same_head(wanted[head], line):
            begin = _begin_of(wanted[:head], lines, at)
            end = _end_of(wanted[head:], lines, at)
            there = [each.strip() for each in lines[begin:end] if each.strip()]
            matches = SequenceMatcher(None, said, there, autojunk=False).get_matching_blocks()
            candidates.append((sum(match.size for match in matches) / len(said), begin, end))
    if not candidates:
        return None
    share, begin, end = max(candidates)
    named = _NAMED.match(wanted[head].strip()) is not None and len(wanted) > head + 1
    least = 0.0 if named and len(candidates) == 1 else LEAST_FOUND
    is_only = sum(1 for each in candidates if each[0] == share) == 1
    return (begin, end) if share >= least and is_only else None


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _head_of(wanted: Sequence[str]) -> int:
    """The first line that the next one is indented below, or else the first line."""
    spoken = [n for n, line in enumerate(wanted) if line.strip()]
    pairs = itertools.pairwise(spoken)
    return next((n for n, below in pairs if _indentation(wanted[below]) > _indentation(wanted[n])), spoken[0])


def _same_head(wanted: str, line: str) -> bool:
    wanted, line = wanted.strip(), line.strip()
    name = _NAMED.match(wanted)
    if name is None or len(name[0]) < 4:
        return wanted == line
    return wanted == line or (line.startswith(name[0]) and not re.match(r"\w", line[len(name[0]) :]))


def _begin_of(above: Sequence[str], lines: Sequence[str], head: int) -> int:
    known = {line.strip() for line in above if line.strip()}
    while head > 0 and lines[head - 1].strip() in known:
        head -= 1
    return head


def _end_of(wanted: Sequence[str], lines: Sequence[str], head: int) -> int:
    """The line behind the last one of what a line heads."""
    depth = _indentation(lines[head])
    end, last = head + 1, head + 1
    while end < len(lines) and (not lines[end].strip() or _indentation(lines[end]) > depth):
        end += 1
        if lines[end - 1].strip():
            last = end
    if last > head + 1:
        closes = end < len(lines) and _indentation(lines[end]) == depth and _CLOSER.match(lines[end].strip())
        return end + 1 if closes else last
    matches = SequenceMatcher(
        None, [line.strip() for line in wanted], [line.strip() for line in lines[head : head + 2 * len(wanted)]], False
    ).get_matching_blocks()
    return head + max((match.b + match.size for match in matches if match.size), default=1)
