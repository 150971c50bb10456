"""The open documents, as the editor has them: lines of text, changed in place, positions in its own units.

A change costs the lines it touches, not the document. Knows neither pygls nor completions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tabby_lsp.text import Change, Point, content_length, split_lines

log = logging.getLogger(__name__)

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def characters(text: str, encoding: str) -> str:
    """A text of an editor. To one of UTF-16 a high surrogate and the low one behind it are one character."""
    if encoding != "utf-16" or text.isascii():
        return text
    return _PAIR.sub(lambda pair: _character(*pair[0]), text)


def _character(high: str, low: str) -> str:
    return chr(0x10000 + ((ord(high) - 0xD800) << 10) + ord(low) - 0xDC00)


def _halves(character: str) -> tuple[str, str]:
    code = ord(character) - 0x10000
    return chr(0xD800 + (code >> 10)), chr(0xDC00 + (code & 0x3FF))


def column_of_units(line: str, units: int, encoding: str) -> int:
    """The character that an editor's column means, within the line. Never inside a character."""
    length = content_length(line)
    if line.isascii() or encoding == "utf-32":
        return max(0, min(units, length))
    text = line[:length]
    if encoding == "utf-8":
        data = text.encode("utf-8", "surrogatepass")
        end = max(0, min(units, len(data)))
        while 0 < end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        return len(data[:end].decode("utf-8", "surrogatepass"))
    data = text.encode("utf-16-le", "surrogatepass")
    end = max(0, min(2 * units, len(data)))
    if 0 < end < len(data) and 0xD8 <= data[end - 1] < 0xDC and 0xDC <= data[end + 1] < 0xE0:
        end -= 2
    return len(data[:end].decode("utf-16-le", "surrogatepass"))


def units_of_column(line: str, column: int, encoding: str) -> int:
    """The editor's column for a character of a line."""
    before = line[:column]
    if encoding == "utf-32" or before.isascii():
        return len(before)
    if encoding == "utf-8":
        return len(before.encode("utf-8", "surrogatepass"))
    return len(before.encode("utf-16-le", "surrogatepass")) // 2


@dataclass(slots=True)
class Document:
    uri: str
    language_id: str
    version: int
    encoding: str
    lines: list[str] = field(default_factory=lambda: [""])
    last_change: Change | None = None

    def place(self, line: int, units: int) -> Point:
        """A position of the editor as a place, moved into the document if it lies outside."""
        if line < 0:
            return 0, 0
        if line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        return line, column_of_units(self.lines[line], units, self.encoding)

    def position(self, place: Point) -> Point:
        """The inverse of `place`: line and column in the editor's units."""
        line, column = place
        return line, units_of_column(self.lines[line], column, self.encoding)

    def replace_all(self, text: str) -> Change:
        """Another text. The change is of the lines that are others now: an editor that always sends all knows more."""
        old, new = self.lines, split_lines(characters(text, self.encoding))
        most = min(len(old), len(new))
        first = next((i for i in range(most - 1) if old[i] != new[i]), most - 1)
        same = next((i for i in range(most - first) if old[-1 - i] != new[-1 - i]), most - first)
        self.lines = new
        end = (len(old) - same, 0) if same else (len(old) - 1, len(old[-1]))
        self.last_change = Change((first, 0), end, "".join(new[first : len(new) - same]))
        return self.last_change

    def edit(self, start: Point, end: Point, text: str) -> Change:
        """A change as the editor says it: lines and columns in its units, also such as lie outside of the document.

        To an editor of UTF-16 a text is a row of units: it may part a pair of surrogates, and bring one together.
        """
        start, end = min(start, end), max(start, end)
        first, last = self.place(*start), self.place(*end)
        if self.encoding != "utf-16":
            return self.replace(first, last, text)
        if parted := self._parted(first, start):
            text = _halves(parted)[0] + text
        if parted := self._parted(last, end):
            text, last = text + _halves(parted)[1], (last[0], last[1] + 1)
        before, after = self.lines[first[0]][: first[1]][-1:], self.lines[last[0]][last[1] :][:1]
        if _PAIR.fullmatch(before + (text + after)[:1]):
            text, first = before + text, (first[0], first[1] - 1)
        if _PAIR.fullmatch(text[-1:] + after):
            text, last = text + after, (last[0], last[1] + 1)
        return self.replace(first, last, characters(text, "utf-16"))

    def _parted(self, place: Point, position: Point) -> str:
        """The character within which an editor's position lies, if it lies within one."""
        line, column = self.lines[place[0]], place[1]
        if place[0] != position[0] or column >= content_length(line):
            return ""
        return line[column] if units_of_column(line, column, self.encoding) < position[1] else ""

    def replace(self, start: Point, end: Point, text: str) -> Change:
        """Puts `text` in the place of what stands between two places."""
        start, end = min(start, end), max(start, end)
        first, last = start[0], end[0]
        joined = self.lines[first][: start[1]] + text + self.lines[last][end[1] :]
        # A "\r" and a "\n" that have come to stand side by side are one line end.
        if first > 0 and joined.startswith("\n") and self.lines[first - 1].endswith("\r"):
            first -= 1
            joined = self.lines[first] + joined
        while joined.endswith("\r") and last + 1 < len(self.lines) and self.lines[last + 1].startswith("\n"):
            last += 1
            joined += self.lines[last]
        if not joined and last + 1 < len(self.lines):
            new: list[str] = []
            if first > 0 and self.lines[first - 1].endswith("\r") and self.lines[last + 1].startswith("\n"):
                new, first, last = [self.lines[first - 1] + self.lines[last + 1]], first - 1, last + 1
        else:
            new = split_lines(joined)
            if last + 1 < len(self.lines) and not new[-1]:
                new.pop()
        self.lines[first : last + 1] = new
        self.last_change = Change(start, end, text)
        return self.last_change

    def deleted_on(self, line: int) -> int | None:
        """The character of a line at which the last change has taken out text of this line, if it has done that."""
        last = self.last_change
        is_deletion = last is not None and not last.text and last.start != last.end
        return last.start[1] if last and is_deletion and last.start[0] == last.end[0] == line else None

    def line_end(self) -> str:
        """The document's own line end: that of its first line."""
        first = self.lines[0]
        return first[content_length(first) :] or "\n"

    def text(self) -> str:
        return "".join(self.lines)


class Documents:
    """All open documents, by URI."""

    def __init__(self) -> None:
        self.encoding = "utf-16"  # the negotiated one; LSP's default
        self._open: dict[str, Document] = {}

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def open(self, uri: str, language_id: str, version: int, text: str) -> Document:
        document = Document(uri, language_id, version, self.encoding, split_lines(characters(text, self.encoding)))
        self._open[uri] = document
        return document

    def close(self, uri: str) -> None:
        if self._open.pop(uri, None) is None:
            log.warning("%s was closed, but not open", uri)

    def changed(self, uri: str, version: int) -> Document | None:
        """The document to change, or None, with a line in the log, if the editor never opened it."""
        document = self._open.get(uri)
        if document is None:
            log.warning("a change of %s, which is not open, is dropped", uri)
            return None
        if version < document.version:
            # The edits still come in the order in which the editor made them: dropping one would lose track.
            log.warning("%s went back from version %s to %s", uri, document.version, version)
        document.version = version
        return document

    def __iter__(self) -> Iterator[Document]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)
