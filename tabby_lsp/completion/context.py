"""What surrounds a cursor: bounded windows of a document's lines. Does not know LSP or tokens."""

from __future__ import annotations

from collections.abc import Sequence

from tabby_lsp.text import content_length

# Models that were measured to gain nothing clear of zero by pieces of other files: see `tests/eval`.
NO_GAIN = frozenset(("tabby-starter",))

# A prompt holds a few thousand tokens of some four characters. More than this is never looked at, so a request
# costs the same in a file of a million lines.
PREFIX_CHARACTERS = 24_000
SUFFIX_CHARACTERS = 8_000

# The window's first line moves in jumps of this many lines. Between two jumps its text only grows at the end,
# and what the model has read of it stays in the KV cache.
ANCHOR_LINES = 64
LINE_GRID = 1024  # characters, where a single line is longer than the window


def surround(lines: Sequence[str], line: int, column: int) -> tuple[str, str, str, int]:
    """`(prefix, line_suffix, suffix, first_line)` at a position, with "\\n" line ends.

    `lines` keep their line ends; `column` counts characters. The position must lie in the document.
    """
    current = lines[line] if line < len(lines) else ""
    content = current[: content_length(current)]
    before, after = content[:column], content[column:]
    prefix, first_line = _above(lines, line, before)
    return prefix, after[:SUFFIX_CHARACTERS], _below(lines, line, current[len(content) :]), first_line


def anchored(first_line: int, line: int, step: int = ANCHOR_LINES) -> int:
    """The next line, from `first_line` on, at which a window may begin; `line` if there is none before it."""
    return min(line, -(-first_line // step) * step)


def _above(lines: Sequence[str], line: int, before: str) -> tuple[str, int]:
    if len(before) >= PREFIX_CHARACTERS:  # begins at a grid, too: it must not move at every key
        start = -(-(len(before) - PREFIX_CHARACTERS) // LINE_GRID) * LINE_GRID
        return before[start:], line
    room = PREFIX_CHARACTERS - len(before)
    first = line
    while first > 0 and len(lines[first - 1]) <= room:
        first -= 1
        room -= len(lines[first])
    if first > 0:
        first = anchored(first, line)
    return "".join(_with_newline(each) for each in lines[first:line]) + before, first


def _below(lines: Sequence[str], line: int, line_end: str) -> str:
    if not line_end:
        return ""
    room = SUFFIX_CHARACTERS
    last = line + 1
    while last < len(lines) and len(lines[last]) <= room:
        room -= len(lines[last])
        last += 1
    below = "".join(_with_newline(each) for each in lines[line + 1 : last])
    if last < len(lines) and last == line + 1:  # the next line alone is larger than the window
        below = lines[last][:SUFFIX_CHARACTERS]
    return "\n" + below


def _with_newline(line: str) -> str:
    """The line with "\\n" in the place of its own line end, if it has one."""
    length = content_length(line)
    return line[:length] + "\n" if length < len(line) else line
