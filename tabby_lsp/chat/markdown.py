"""What a model writes, made safe to be shown: Markdown of which only code, text and numbers of excerpts are left.

HTML, pictures, links and definitions of links are text (a model repeats what stands in files, and a file may have
been written to be repeated); control sequences of a terminal are no characters of a text. `[n]` is kept where there is
an excerpt n, for the face to make a link of, and dropped where there is none. Within code everything stays as it is.

What is code is decided so that whoever renders the text decides the same: fences are written anew, at the beginning of
a line, and a backtick that does not begin code on its line is escaped (CommonMark 0.31, 4.5 and 6.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_FENCE = re.compile(r"([ \t]*)(`{3,}(?=[^`\n]*\n?$)|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n?")
_MAYBE_FENCE = re.compile(r"[ \t]*(`{0,2}|`{3,}[^`\n]*|~{0,2}|~{3,}[^\n]*)")  # without its line end
_NUMBERS = re.compile(r"[ \t]?\[[ \t]*(\d{1,3}(?:[ \t]*[,;][ \t]*\d{1,3})*)[ \t]*\]")
# The beginning of what may become numbers of excerpts, with the blank that goes with them when they are dropped.
_MAYBE_NUMBERS = re.compile(r"[ \t]?(\[[\d,; \t]{0,40})?")
_AFTER_NUMBERS = ("", *" \t\n.,;:")
_RUN = re.compile(r"`+")
# What ends no text and is no letter: control characters but for tabs and line ends, and what turns the direction of
# writing round, so that code reads otherwise than it runs (CVE-2021-42574).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ESCAPED = tuple("\\<!]&")  # what stays as it is where it is escaped already
_SPECIAL = re.compile(r"[\\`<!\]\[&]|[ \t](?=\[|\Z)")


def without_control(text: str) -> str:
    """What a terminal or an editor may take for a command is shown as what it is not."""
    return _UNSEEN.sub("�", text.replace("\r\n", "\n"))


class Answer:
    """Makes a text safe while it is written. It may come in pieces, cut anywhere; a number is never given in two."""

    def __init__(
        self, excerpts: Collection[int] = (), markdown: bool = True, link: Callable[[int], str] = "[{}]".format
    ) -> None:
        """`markdown`: it is for who renders it; otherwise only numbers and control characters are looked at. `link` is
        what stands for the number of an excerpt."""
        self.cited: list[int] = []  # in the order in which they are named
        self._excerpts, self._markdown, self._link = excerpts, markdown, link
        self._held = ""
        self._line_begins = True
        self._fence = ""  # that of the code that has begun, as it was written here
        self._closing: re.Pattern[str] = re.compile("")
        self._indent = 0
        self._return = ""

    def feed(self, text: str) -> str:
        """What can now be shown of the text so far."""
        text = self._return + text  # a "\r" may be the half of a line end
        self._return = "\r" if text.endswith("\r") else ""
        text = self._held + without_control(text[:-1] if self._return else text)
        shown, place = self._read(text, False)
        self._held = text[place:]
        return shown

    def end(self) -> str:
        """What was held back, when nothing more comes, and the end of code that has none."""
        text, self._held = self._held + without_control(self._return), ""
        shown, _ = self._read(text, True)
        if self._fence and self._markdown:
            shown += ("" if self._line_begins else "\n") + self._fence + "\n"
        return shown

    def _read(self, text: str, is_all: bool) -> tuple[str, int]:
        """What is to be shown, and where that ends which is known by now."""
        shown: list[str] = []
        place = 0
        while place < len(text):
            step = self._code if self._fence else self._text
            piece, after = step(text, place, is_all)
            if after == place:
                break
            shown.append(piece)
            place = after
        return "".join(shown), place

    def _code(self, text: str, place: int, is_all: bool) -> tuple[str, int]:
        """A part of a line within code."""
        end = text.find("\n", place) + 1
        line = text[place : end or len(text)]
        if self._line_begins:
            if not (end or is_all) and _MAYBE_FENCE.fullmatch(line):
                return "", place  # it may become the closing fence, and blanks may be indentation of the opening one
            if self._closing.fullmatch(line.rstrip("\n")):
                fence, self._fence = self._fence, ""
                self._line_begins = True
                return (fence + "\n" if self._markdown else line), place + len(line)
            indent = len(line) - len(line.lstrip(" \t"))
            self._line_begins = bool(end)
            return line[min(indent, self._indent) if self._markdown else 0 :], place + len(line)
        self._line_begins = bool(end)
        return line, place + len(line)

    def _text(self, text: str, place: int, is_all: bool) -> tuple[str, int]:
        """A fence, or text up to what may mean something."""
        if self._line_begins:
            end = text.find("\n", place) + 1
            line = text[place : end or len(text)]
            if fence := _FENCE.fullmatch(line):
                if not (end or is_all):
                    return "", place
                return self._opened(fence, line), place + len(line)
            if not (end or is_all) and _MAYBE_FENCE.fullmatch(line):
                return "", place
            self._line_begins = False
        found = _SPECIAL.search(text, place)
        newline = text.find("\n", place)
        if 0 <= newline < (found.start() if found else len(text)):
            self._line_begins = True
            return text[place : newline + 1], newline + 1
        if found is None:
            return text[place:], len(text)
        if found.start() > place:
            return text[place : found.start()], found.start()
        return self._special(text, place, is_all)

    def _opened(self, fence: re.Match[str], line: str) -> str:
        indent, marks, language = fence.groups()
        self._indent = len(indent)
        self._closing = re.compile(rf"[ \t]*{re.escape(marks[0])}{{{len(marks)},}}[ \t]*")
        self._fence = marks
        self._line_begins = True
        return f"{marks}{language}\n" if self._markdown else line

    def _special(self, text: str, place: int, is_all: bool) -> tuple[str, int]:
        """What begins with a character that may mean something."""
        char = text[place]
        if char in " \t[":
            return self._brackets(text, place, is_all)
        if char == "`":
            return self._backticks(text, place, is_all)
        following = text[place + 1 : place + 2]
        if not following and not is_all:
            return "", place
        if not self._markdown:
            return char, place + 1
        if char == "\\":
            if following in _ESCAPED:
                return char + following, place + 2
            return "\\\\" if following in ("[", "`") else char, place + 1
        escapes = {
            "<": following.isalpha() or following in tuple("/!?"),
            "!": following == "[",
            "]": following in ("(", "[", ":"),
            "&": following == "#" or following.isalpha(),
        }[char]
        return ("\\" + char if escapes else char), place + 1

    def _brackets(self, text: str, place: int, is_all: bool) -> tuple[str, int]:
        """Numbers of excerpts, or a bracket as it is."""
        found = _NUMBERS.match(text, place)
        if found is None:
            maybe = _MAYBE_NUMBERS.match(text, place)
            if not is_all and maybe and maybe.end() == len(text):
                return "", place
            return text[place], place + 1
        if not is_all and found.end() == len(text):
            return "", place
        following = text[found.end() : found.end() + 1]
        asked = [int(each) for each in re.findall(r"\d+", found[1])]
        if 0 in asked:  # an index of an array
            return found[0], found.end()
        given = [each for each in asked if each in self._excerpts]
        self.cited += [each for each in given if each not in self.cited]
        blank = found[0][: len(found[0]) - len(found[0].lstrip())]
        if not given:  # what stood on both sides must not come together, as in "<[9]b>"
            blank = "" if following in _AFTER_NUMBERS else " "
        shown = blank + "".join(map(self._link, given))
        if given and self._markdown and following in ("(", ":"):  # of a link, or of the definition of one
            return f"{shown}\\{following}", found.end() + 1
        return shown, found.end()

    def _backticks(self, text: str, place: int, is_all: bool) -> tuple[str, int]:
        """Code within a line, or a run of backticks that begins none."""
        run = _RUN.match(text, place)
        assert run is not None
        newline = text.find("\n", run.end())
        known = newline >= 0 or is_all
        if run.end() == len(text) and not is_all:
            return "", place
        end = newline if newline >= 0 else len(text)
        for other in _RUN.finditer(text, run.end(), end):
            if len(other[0]) == len(run[0]) and (known or other.end() < len(text)):
                return text[place : other.end()], other.end()
        if not known:
            return "", place
        return ("".join("\\`" for _ in run[0]) if self._markdown else run[0]), run.end()


def fenced(text: str, language: str = "") -> str:
    """A text as a block of code, without the line ends at its end."""
    fence, text = fence_around(text), text.rstrip("\n")
    return f"{fence}{language}\n{text}\n{fence}"


def fence_around(text: str) -> str:
    """A fence that no line of the text can close (CommonMark 0.31, 4.5)."""
    longest = max((len(run) for run in _RUN.findall(text)), default=0)
    return "`" * max(3, longest + 1)
