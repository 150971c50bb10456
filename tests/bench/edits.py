"""The edits of a replay as data, and an editor's buffers to carry them out on. What is edited is in `scripts`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Point = tuple[int, int]  # line, column: both from 0


# --- steps


@dataclass(frozen=True, slots=True)
class Open:
    """A document is opened; the cursor stands at its start."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """The cursor goes to a place, perhaps of another document that is open."""

    file: str
    place: Point


@dataclass(frozen=True, slots=True)
class Insert:
    """Text at the cursor, which then stands behind it, but for the last `back` characters."""

    text: str
    back: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """What stands between two places goes; the cursor goes to the first."""

    start: Point
    end: Point


@dataclass(frozen=True, slots=True)
class Clock:
    """The user acts: from here to the suggestion is what is measured. Before it there was time to do something."""

    visit: bool = False  # the user has looked around, and stood still for longer than between two keys


@dataclass(frozen=True, slots=True)
class Ask:
    """A suggestion is asked for, as editors do by themselves.

    `after` is what the user did: "key", or "open", "jump" (to another file, or far away), "window" (a hundred lines
    away), "undo", "paste", "rename", or "resume": a key after lines that were written without asking. `wanted` is the
    text from the cursor on that the user is about to write, what is right of the cursor and part of it included. `run`
    tells apart what is typed in one go.
    """

    after: str
    wanted: str
    run: int


Step = Open | Move | Insert | Delete | Clock | Ask


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    steps: tuple[Step, ...]
    target: Mapping[str, str]  # what every file is in the end

    @property
    def asks(self) -> int:
        return sum(isinstance(step, Ask) for step in self.steps)


# --- the buffer


@dataclass(frozen=True, slots=True)
class Change:
    """One change as an editor reports it: `text` took the place of what stood between two places."""

    file: str
    start: Point
    end: Point
    text: str


@dataclass(slots=True)
class Buffer:
    """A document in an editor: lines without their ends, and the cursor."""

    file: str
    lines: list[str]
    cursor: Point = (0, 0)

    @classmethod
    def of(cls, file: str, text: str) -> Buffer:
        return cls(file, text.split("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def line_prefix(self) -> str:
        return self.lines[self.cursor[0]][: self.cursor[1]]

    @property
    def line_suffix(self) -> str:
        return self.lines[self.cursor[0]][self.cursor[1] :]

    def insert(self, step: Insert) -> Change:
        place = self.cursor
        new = (self.line_prefix + step.text + self.line_suffix).split("\n")
        self.lines[place[0] : place[0] + 1] = new
        self.cursor = end_of(place, step.text[: len(step.text) - step.back])
        return Change(self.file, place, place, step.text)

    def delete(self, step: Delete) -> Change:
        (first, start), (last, end) = step.start, step.end
        self.lines[first : last + 1] = [self.lines[first][:start] + self.lines[last][end:]]
        self.cursor = step.start
        return Change(self.file, step.start, step.end, "")


def end_of(place: Point, text: str) -> Point:
    """The place behind a text that begins at a place."""
    above, newline, last = text.rpartition("\n")
    return (place[0] + above.count("\n") + 1, len(last)) if newline else (place[0], place[1] + len(text))


def indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


class Desk:
    """The open documents of an editor, and the one with the cursor in it."""

    def __init__(self) -> None:
        self.buffers: dict[str, Buffer] = {}
        self.file = ""

    @property
    def buffer(self) -> Buffer:
        return self.buffers[self.file]

    def carry_out(self, step: Step) -> Change | None:
        """Does a step; what it changed in a document that was already open."""
        if isinstance(step, Open):
            self.buffers[step.file] = Buffer.of(step.file, step.text)
            self.file = step.file
        elif isinstance(step, Move):
            self.file = step.file
            self.buffer.cursor = step.place
        elif isinstance(step, Insert):
            return self.buffer.insert(step)
        elif isinstance(step, Delete):
            return self.buffer.delete(step)
        return None


def carry_out(script: Script) -> Iterator[tuple[Step, Desk, Change | None]]:
    """Every step of a script as it has just been done."""
    desk = Desk()
    for step in script.steps:
        change = desk.carry_out(step)
        yield step, desk, change
