"""What is typed in a replay: edits of real files, recorded as steps.

The files are Python's own library, read from the interpreter that runs this. A script takes something out of such a
file and writes it again, so that what comes next is known at every key. `Pen` records it; nothing here knows who is
asked for suggestions.

A key is a character, or a line end together with the indentation that an editor puts behind it. Where `pairs` are on,
an opening bracket or quote brings its closer, and typing that closer moves over it.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edits import Ask, Clock, Delete, Desk, Insert, Move, Open, Script, Step, indentation

# A line that is written alone, of which there are many, asks at this part of the limit of keys.
LINE_SHARE = 5
CLOSER_OF = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'"}


BASE_EVENTS = "base_events.py"
ARGPARSE = "argparse.py"
STREAMS = "streams.py"
FILES = {
    BASE_EVENTS: Path(asyncio.__file__).with_name(BASE_EVENTS),
    ARGPARSE: Path(argparse.__file__),
    STREAMS: Path(asyncio.__file__).with_name(STREAMS),
}


# --- recording


@dataclass(slots=True)
class Pen:
    """Records steps, doing them as it goes. `limit`: about how many keys of a run of lines ask for a suggestion."""

    limit: int
    steps: list[Step] = field(default_factory=list)
    desk: Desk = field(default_factory=Desk)
    run: int = 0

    def do(self, *steps: Step) -> None:
        for step in steps:
            self.desk.carry_out(step)
            self.steps.append(step)

    def ask(self, after: str, wanted: str) -> None:
        self.do(Ask(after, wanted, self.run))

    def open_line(self, line: int, indentation: str) -> None:
        """A new line before one, indented, with the cursor on it."""
        self.do(Move(self.desk.file, (line, 0)), Insert(indentation + "\n", back=1))

    def type(self, text: str, rest: str = "", pairs: bool = False) -> None:
        """Types a text key by key. `rest` is what stands right of the cursor at its end and belongs to it.

        If there are more keys than the limit, whole lines of them are written without asking, and what is behind it;
        of a single line, what is behind a share of the limit.
        """
        self.run += 1
        asked = asked_lines(text, self.limit)
        most = len(text) if "\n" in text else max(1, self.limit // LINE_SHARE)
        waiting: list[str] = []  # closers right of the cursor, the next one last
        at = number = asks = 0
        skipped = False
        for key in keys_of(text):
            asking = number in asked and at < most and asks < self.limit
            asks += asking
            if asking:
                self.do(Clock())
            self._press(key, waiting, pairs and not in_triple_quotes(text, at))
            at += len(key)
            if asking:
                self.ask("resume" if skipped else "key", text[at:] + rest)
            skipped = not asking
            number += key.count("\n")

    def _press(self, key: str, waiting: list[str], pairs: bool) -> None:
        line, column = self.desk.buffer.cursor
        if waiting and key == waiting[-1]:
            waiting.pop()
            self.do(Move(self.desk.file, (line, column + 1)))
        elif pairs and key in CLOSER_OF and not (key in "\"'" and self.desk.buffer.line_prefix[-1:].isalnum()):
            waiting.append(CLOSER_OF[key])
            self.do(Insert(key + CLOSER_OF[key], back=1))
        else:
            self.do(Insert(key))


def keys_of(text: str) -> list[str]:
    return re.findall(r"\n[ \t]*|[^\n]", text)


def asked_lines(text: str, limit: int) -> set[int]:
    """Lines, evenly spread, that together have as many characters as they may; one, if none may have so few."""
    lengths = [len(line) + 1 for line in text.split("\n")]
    spreads = [range(start, len(lengths), step) for step in range(1, len(lengths) + 1) for start in range(step)]
    sizes = {spread: sum(lengths[i] for i in spread) for spread in spreads}
    return set(max((each for each in spreads if sizes[each] <= limit), key=sizes.__getitem__, default=range(1)))


def in_triple_quotes(text: str, at: int) -> bool:
    """Whether a key at a place of a text is part of, or within, triple quotes: editors do not pair there."""
    return any(begin <= at < end for begin, end in (m.span() for m in re.finditer(r'"""(?s:.*?)"""', text)))


# --- finding something to write


def read_file(file: str) -> str:
    return FILES[file].read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a file: the text before them, their own without the last line end, and the text after."""

    before: str
    text: str
    after: str

    @property
    def line(self) -> int:
        return self.before.count("\n")

    @property
    def without(self) -> str:
        return self.before + self.after


def lines_of(source: str, first: int, last: int) -> Piece:
    """The lines from `first` to before `last`, counted from 0."""
    lines = source.split("\n")
    tail = lines[last:]
    return Piece(
        "".join(line + "\n" for line in lines[:first]),
        "\n".join(lines[first:last]),
        "\n".join(tail),
    )


def function(source: str, name: str) -> Piece:
    """The first function of a name, with its decorators. They are found by name: versions of Python differ."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            assert node.end_lineno is not None
            return lines_of(source, first - 1, node.end_lineno)
    raise LookupError(f"this Python's file has no function {name}")


_STATEMENT = re.compile(r" {8,}(?:self\.\w+|\w+ = |return |raise |if |for )\S*.*[\w)\]:]$")


def statements(source: str, distance: int, count: int, first: int = 100) -> list[int]:
    """Lines of code, some distance from one another, that a user might have left out."""
    lines = source.split("\n")
    found: list[int] = []
    for i in range(first, len(lines) - 1):
        long_enough = len(lines[i].strip()) >= 18 and lines[i + 1].strip()
        if _STATEMENT.match(lines[i]) and long_enough and i >= (found[-1] + distance if found else first):
            found.append(i)
    return found[:count]


def without_lines(source: str, left_out: Sequence[int]) -> str:
    return "\n".join(line for i, line in enumerate(source.split("\n")) if i not in set(left_out))


# --- the scripts


def insert_function(limit: int) -> Script:
    """Two functions of a file are written."""
    source = read_file(BASE_EVENTS)
    pen = Pen(limit)
    piece = function(source, "call_at")
    other = function(piece.without, "run_in_executor")
    pen.do(Clock(visit=True), Open(BASE_EVENTS, other.without))
    _write_lines(pen, piece.text, piece.line, "open")
    _write_lines(pen, other.text, function(source, "run_in_executor").line, "window")
    return Script("insert", tuple(pen.steps), {BASE_EVENTS: source})


def _write_lines(pen: Pen, text: str, line: int, after: str, pairs: bool = False) -> None:
    """Opens a line and types whole lines on it, asking once before the first key."""
    indent = indentation(text)
    if after != "open":
        pen.do(Clock(visit=True))
    pen.open_line(line, indent)
    pen.run += 1
    pen.ask(after, text[len(indent) :])
    pen.type(text[len(indent) :], pairs=pairs)


def auto_closed_pairs(limit: int) -> Script:
    """A function is written in an editor that closes brackets and quotes."""
    source = read_file(ARGPARSE)
    piece = function(source, "_get_positional_kwargs")
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(ARGPARSE, piece.without))
    _write_lines(pen, piece.text, piece.line, "open", pairs=True)
    return Script("pairs", tuple(pen.steps), {ARGPARSE: source})


def fix_lines(limit: int) -> Script:
    """Words in the middle of lines, with more to their right, are wrong: each is deleted and typed again."""
    source = read_file(BASE_EVENTS)
    piece = function(source, "run_until_complete")
    words = [
        (piece.line + number, match.start(1), match[1])
        for number, line in enumerate(piece.text.split("\n"))
        if (match := re.search(r"\b(?:self|future|tasks)\.(\w{7,})\(", line)) and number > 0
    ]
    lines = source.split("\n")
    for line, column, word in words:  # two letters swapped
        wrong = word[:2] + word[3] + word[2] + word[4:]
        lines[line] = lines[line][:column] + wrong + lines[line][column + len(word) :]
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(BASE_EVENTS, "\n".join(lines)))
    right = source.split("\n")
    for line, column, word in words:
        end = (line, column + len(word))
        pen.do(Clock(visit=True), Move(BASE_EVENTS, end), Delete((line, column), end))
        pen.type(word, rest=right[line][column + len(word) :])
    return Script("fix", tuple(pen.steps), {BASE_EVENTS: source})


def two_files(limit: int) -> Script:
    """Lines are written in two files in turn."""
    sources = {file: read_file(file) for file in (BASE_EVENTS, ARGPARSE)}
    missing = {file: statements(source, 12, 3, first=400) for file, source in sources.items()}
    pen = Pen(limit)
    for file, source in sources.items():
        pen.do(Clock(visit=True), Open(file, without_lines(source, missing[file])))
        _visit(pen, file, source, missing[file][0], "open")
    for number in (1, 2):
        for file, source in sources.items():
            _visit(pen, file, source, missing[file][number], "jump")
    return Script("files", tuple(pen.steps), sources)


def far_places(limit: int) -> Script:
    """Lines are written at places of a file that lie farther and farther from one another."""
    source = read_file(ARGPARSE)
    missing = statements(source, 90, 4) + statements(source, 300, 3, first=700)
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(ARGPARSE, without_lines(source, missing)))
    before = 0
    for line in sorted(missing):
        _visit(pen, ARGPARSE, source, line, "jump" if line - before > 200 else "window")
        before = line
    return Script("places", tuple(pen.steps), {ARGPARSE: source})


def _visit(pen: Pen, file: str, source: str, line: int, after: str) -> None:
    """Goes to a line of a file that is missing there, and writes it. The lines above it are complete."""
    text = source.split("\n")[line]
    if after != "open":
        pen.do(Clock(visit=True), Move(file, pen.desk.buffers[file].cursor))
    pen.open_line(line, indentation(text))
    pen.run += 1
    pen.ask(after, text.lstrip())
    pen.type(text.lstrip())


def rename(limit: int) -> Script:
    """A name is changed at all its places at once, then a line that uses it is written."""
    source = read_file(ARGPARSE)
    piece = function(source, "_check_conflict")
    name, old = "confl_optionals", "options"
    lines = piece.text.split("\n")
    missing = next(i for i, line in enumerate(lines) if f"{name}.append" in line)
    text = re.sub(rf"\b{name}\b", old, "\n".join(lines[:missing] + lines[missing + 1 :]))
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(ARGPARSE, piece.before + text + "\n" + piece.after))
    places = [
        (piece.line + number, match.start())
        for number, line in enumerate(text.split("\n"))
        for match in re.finditer(rf"\b{old}\b", line)
        # Not the words of the comments, nor those that are names of their own.
        if not line.lstrip().startswith("#") and line[match.start() - 1 : match.start()] != "."
    ]
    pen.do(Clock(visit=True))
    for line, column in reversed(places):
        pen.do(Delete((line, column), (line, column + len(old))), Insert(name))
    _renamed_line(pen, lines[missing], piece.line + missing)
    return Script("rename", tuple(pen.steps), {ARGPARSE: source})


def _renamed_line(pen: Pen, text: str, line: int) -> None:
    pen.open_line(line, indentation(text))
    pen.run += 1
    pen.ask("rename", text.lstrip())
    pen.type(text.lstrip())


def undo(limit: int) -> Script:
    """Some lines are typed, taken back at once, and typed again."""
    source = read_file(STREAMS)
    piece = function(source, "_wait_for_data")
    lines = piece.text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.lstrip().startswith("if "))
    part = lines_of(source, piece.line + first, piece.line + first + 4)
    indent = indentation(part.text)
    text = part.text[len(indent) :]
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(STREAMS, part.without))
    pen.open_line(part.line, indent)
    pen.run += 1
    pen.ask("open", text)
    start = pen.desk.buffer.cursor
    for _ in range(2):
        pen.type(text)
        pen.do(Clock(), Delete(start, pen.desk.buffer.cursor))
        pen.run += 1
        pen.ask("undo", text)
    pen.type(text)
    return Script("undo", tuple(pen.steps), {STREAMS: source})


def paste(limit: int) -> Script:
    """The first lines of functions are pasted, and the next ones typed."""
    source = read_file(ARGPARSE)
    piece = function(source, "_read_args_from_files")
    lines = piece.text.split("\n")
    indent = indentation(lines[0])
    pen = Pen(limit)
    pen.do(Clock(visit=True), Open(ARGPARSE, piece.without))
    pen.open_line(piece.line, indent)
    pen.run += 1
    pen.ask("open", piece.text[len(indent) :])
    for first, middle, last in ((0, 5, 8), (8, 14, 18)):
        pasted, typed = "\n".join(lines[first:middle]) + "\n", "\n".join(lines[middle:last])
        pasted = pasted[len(indent) :] if first == 0 else "\n" + pasted
        pen.do(Clock(), Insert(pasted + indentation(typed)))
        pen.run += 1
        pen.ask("paste", typed.lstrip())
        pen.type(typed.lstrip())
    pen.do(Insert("\n" + "\n".join(lines[18:])))
    return Script("paste", tuple(pen.steps), {ARGPARSE: source})


SCRIPTS: Mapping[str, Callable[[int], Script]] = {
    "insert": insert_function,
    "pairs": auto_closed_pairs,
    "fix": fix_lines,
    "files": two_files,
    "places": far_places,
    "rename": rename,
    "undo": undo,
    "paste": paste,
}
