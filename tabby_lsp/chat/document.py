"""A conversation as a Markdown document: who said what, what an answer cites, and where the next answer is written.

The document is the history: what stands in it is what the model is told. Sections begin with a line `## You` or
`## Tabby`; a line like these within a fence of code is text. Numbers of excerpts are Markdown's own references
(CommonMark 0.31, 4.7), so `[3]` is a link wherever the document is shown. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tabby_lsp.chat.conversation import Message

YOU, TABBY = "## You", "## Tabby"
WRITING = "*writing …*"  # the line before which an answer goes on; who deletes it stops the answer
ROLES = {YOU: "user", TABBY: "assistant"}

_HEADER = re.compile(r"\A<!-- tabby-lsp chat about (\S+) -->[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})")
_REFERENCE = re.compile(r'^\[(\d{1,4})\]: <?(\S+?)(?:#L(\d+)(?:-L(\d+))?)?>?(?: "(.*)")?[ \t]*$')
# What an answer must not say, since it means something in a document.
_MEANS = re.compile(rf"^(?=(?:{'|'.join(map(re.escape, (YOU, TABBY, WRITING)))})\s*$)", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w\]])\[(\d{1,4})\](?![:(])")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an excerpt stands: lines of a file, both from 1 and both included; `last` 0 where it is all of it."""

    number: int
    uri: str
    first: int
    last: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """What one said: lines `begin` up to `end` (from 0, `end` is not one of them) below the line of its heading."""

    role: str  # user or assistant
    begin: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A number of an excerpt in a line, at these characters, and what it stands for."""

    line: int
    begin: int
    end: int
    reference: Reference


def header(workspace: str) -> str:
    """The first line of a document: the workspace, by its URI, that it is about."""
    return f"<!-- tabby-lsp chat about {_uri(workspace)} -->"


def begun(workspace: str, title: str, question: str = "") -> str:
    """A new document, ready for a question to be written."""
    return f"{header(workspace)}\n# {title}\n\n{YOU}\n\n{question}\n"


def workspace_of(text: str) -> str | None:
    """The URI of the workspace that a document is about; None of a text that is no conversation."""
    found = _HEADER.match(text)
    return found[1] if found else None


def _is_code(lines: Sequence[str]) -> list[bool]:
    """Of each line: whether it is one of a fenced block."""
    fence, code = "", []
    for line in lines:
        found = _FENCE.match(line)
        if fence:
            code.append(True)
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        else:
            fence = found[1] if found else ""
            code.append(bool(fence))
    return code


def sections(text: str) -> list[Section]:
    lines = text.split("\n")
    code = _is_code(lines)
    heads = [n for n, line in enumerate(lines) if not code[n] and line.rstrip() in ROLES]
    found = []
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        said = "\n".join(lines[head + 1 : end]).strip("\n")
        found.append(Section(ROLES[lines[head].rstrip()], head + 1, end, said))
    return found


def messages(text: str) -> list[Message]:
    """What was said, in order, as a model is told it: without references and without what is only being written. What
    one said in two sections in a row is one message.
    """
    said: list[Message] = []
    for section in sections(text):
        lines = section.text.split("\n")
        code = _is_code(lines)
        kept = [
            line
            for line, is_code in zip(lines, code, strict=True)
            if is_code or not (_REFERENCE.match(line) or line.strip() == WRITING)
        ]
        content = "\n".join(kept).strip()
        if not content:
            continue
        if said and said[-1].role == section.role:
            said[-1] = Message(section.role, f"{said[-1].content}\n\n{content}")
        else:
            said.append(Message(section.role, content))
    return said


def question(text: str) -> str:
    """What was asked and is not answered yet; empty if nothing was."""
    said = messages(text)
    return said[-1].content if said and said[-1].role == "user" else ""


def is_writing(text: str) -> bool:
    return writing_at(text) is not None


def writing_at(text: str) -> int | None:
    """The line before which an answer goes on; None if it was stopped by deleting it."""
    lines = text.split("\n")
    code = _is_code(lines)
    marked = [n for n, line in enumerate(lines) if line.strip() == WRITING]
    # The answer that is being written may have a fence that is still open.
    return next((n for n in reversed(marked) if not code[n]), marked[-1] if marked else None)


def answer_begun() -> str:
    """What is added at the end of a document when an answer begins."""
    return f"\n{TABBY}\n\n{WRITING}\n"


def answer_ended(cited: Iterable[Reference], note: str = "") -> str:
    """What takes the place of `WRITING` when an answer has ended: why it ended if that must be said, what it cites, and
    room for the next question."""
    parts = [f"*{note}*\n"] if note else []
    if listed := "\n".join(map(reference_line, cited)):
        parts.append(listed + "\n")
    parts.append(f"{YOU}\n\n")
    return "\n" + "\n".join(parts)


def reference_line(reference: Reference) -> str:
    lines = f"#L{reference.first}-L{reference.last}" if reference.last else ""
    title = reference.title.replace('"', "'").replace("\n", " ")
    return f"[{reference.number}]: {_uri(reference.uri)}{lines}" + (f' "{title}"' if title else "")


def _uri(uri: str) -> str:
    """A URI as it is, but for characters that none has and that would end it here."""
    return quote(uri, safe=":/?#[]@!$&'()*+,;=%-._~").replace("#", "%23")


def references(text: str) -> dict[int, Reference]:
    """The excerpts that a document refers to, by number. Of two with one number the first counts, as in Markdown."""
    lines = text.split("\n")
    found: dict[int, Reference] = {}
    for line, is_code in zip(lines, _is_code(lines), strict=True):
        if not is_code and (match := _REFERENCE.match(line)):
            number, uri, first, last, title = match.groups()
            reference = Reference(int(number), uri, int(first or 1), int(last or first or 0), title or "")
            found.setdefault(reference.number, reference)
    return found


def next_number(text: str) -> int:
    """The first number that no excerpt in the document has."""
    return max(references(text), default=0) + 1


def links(text: str) -> list[Link]:
    """The numbers of excerpts, wherever they stand outside of code, and their references themselves."""
    known, found = references(text), []
    lines = text.split("\n")
    for number, (line, is_code) in enumerate(zip(lines, _is_code(lines), strict=True)):
        if is_code:
            continue
        if (match := _REFERENCE.match(line)) and int(match[1]) in known:
            found.append(Link(number, 0, len(line.rstrip()), known[int(match[1])]))
            continue
        for match in _NUMBER.finditer(line):
            if int(match[1]) in known:
                found.append(Link(number, match.start(), match.end(), known[int(match[1])]))
    return found


# --- edits, while an answer is written


# Of a text: the lines from one up to another, counted from 0, and what takes their place; None where there is no place.
Edit = Callable[[str], tuple[int, int, str] | None]


def begins_answer(text: str) -> tuple[int, int, str]:
    """Room for an answer, behind all there is."""
    lines = text.split("\n")
    last = len(lines) - 1
    if not lines[last]:
        return last, last, answer_begun()
    return last, last + 1, f"{lines[last]}\n{answer_begun()}"


def ends_answer(text: str, end: str) -> tuple[int, int, str] | None:
    at = writing_at(text)
    return None if at is None else (at, at + 1, end)


class Growth:
    """More of an answer, before the mark of what is written. `before` is the beginning of its last line, which stands
    there already; `tail` is that of the line with which it ends now."""

    def __init__(self, before: str, new: str) -> None:
        self._before, self._new = before, new
        self.tail = (before + new).rpartition("\n")[2]

    def of(self, text: str) -> tuple[int, int, str] | None:
        at = writing_at(text)
        if at is None:
            return None
        lines = text.split("\n")
        follows = bool(self._before) and at > 0 and lines[at - 1] == self._before
        new = (self._before if follows else "") + self._new
        return at - follows, at, new if new.endswith("\n") else new + "\n"


def harmless(answer: str) -> str:
    """An answer whose lines mean nothing to a document."""
    return _MEANS.sub(r"\\", answer)


def certain(text: str) -> int:
    """How much of a text can be shown while more comes: a line that may become one with a meaning is held back."""
    line = text.rpartition("\n")[2]
    return len(text) - len(line) if line[:1] in ("#", "*", "\\") else len(text)
