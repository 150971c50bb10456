"""Documents over the protocol against a model of their own: a row of the editor's units, and nothing of the package.

TABBY_LSP_EDITS says how many edits there are in each combination of line ends and encoding (5,000 in all by default).
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from test_protocol import Line

EDITS = int(os.environ.get("TABBY_LSP_EDITS", "420"))
ENDS = {"LF": ["\n"], "CRLF": ["\r\n"], "CR": ["\r"], "mixed": ["\n", "\r\n", "\r"]}
# What an editor's text is to it: numbers of so many bytes.
CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
PIECES = ["a", "word", "é", "漢", "😀", "👩‍💻", "\t", " ", "\f", "\v", "\x00", "\u2028", "\x85", "\ufeff", "()"]
HALVES = ["\ud83d", "\ude00"]
BEYOND = [7, 1_000, 2**31 - 1, 2**31, 2**40, 1e300, -3]
URI = "file:///model.py"


class Model:
    """The editor's own text, as units in bytes, and lines found unit by unit."""

    def __init__(self, encoding: str) -> None:
        self.codec, self.size = CODECS[encoding]
        self.units: list[bytes] = []

    def cut(self, text: str) -> list[bytes]:
        data = text.encode(self.codec, "surrogatepass")
        return [data[at : at + self.size] for at in range(0, len(data), self.size)]

    def lines(self) -> list[tuple[int, int]]:
        """Where each line begins and where its content ends."""
        ends = [unit.rstrip(b"\0") for unit in self.units]
        lines, start, at = [], 0, 0
        while at < len(ends):
            if ends[at] not in (b"\r", b"\n"):
                at += 1
                continue
            lines.append((start, at))
            at += 2 if ends[at] == b"\r" and ends[at + 1 : at + 2] == [b"\n"] else 1
            start = at
        return [*lines, (start, len(ends))]

    def position(self, offset: int) -> dict[str, int]:
        number, start = next((i, s) for i, (s, e) in reversed([*enumerate(self.lines())]) if s <= offset)
        return {"line": number, "character": offset - start}

    def replace(self, start: int, end: int, text: str) -> None:
        self.units[start:end] = self.cut(text)

    def text(self) -> bytes:
        return b"".join(self.units)


def places(model: Model) -> list[int]:
    """Offsets at which an editor can stand: on no line end's inside, and with UTF-8 within no character."""
    found = []
    for start, end in model.lines():
        found += [
            at for at in range(start, end + 1) if at == end or model.size > 1 or model.units[at][0] & 0xC0 != 0x80
        ]
    return found


def beyond(model: Model, chance: random.Random) -> tuple[dict[str, Any], int]:
    """A position that is outside of the text, and where it means."""
    lines = model.lines()
    far = chance.choice(BEYOND)
    if far < 0:
        return {"line": chance.choice([far, 0]), "character": far}, 0
    if chance.random() < 0.5:
        return {"line": len(lines) + far, "character": chance.choice([0, 5, far])}, len(model.units)
    number = chance.randrange(len(lines))
    start, end = lines[number]
    return {"line": number, "character": end - start + far}, end


def change(model: Model, chance: random.Random, pieces: list[str]) -> dict[str, Any]:
    """A change as an editor sends it; the model has it from now on."""
    longest = 6 if len(model.units) < 400 else 0
    text = "".join(chance.choices(pieces, k=chance.choice([0, 0, 1, 1, 1, 2, longest])))
    if chance.random() < 0.02:
        model.units = model.cut(text)
        return {"text": text}
    known = places(model)
    ends = sorted(chance.choices(known, k=2))
    if chance.random() < 0.6:
        ends[1] = min((each for each in known if each >= ends[0] + chance.randint(0, 3)), default=ends[0])
    positions = [model.position(each) for each in ends]
    if chance.random() < 0.05:
        positions[1], ends[1] = beyond(model, chance)
        if ends[1] < ends[0]:
            positions[0], ends[0] = positions[1], ends[1]
    model.replace(ends[0], ends[1], text)
    return {"range": {"start": positions[0], "end": positions[1]}, "text": text}


@pytest.mark.parametrize("encoding", CODECS)
@pytest.mark.parametrize("ends", ENDS)
async def test_thousands_of_edits_leave_the_editors_text(ends: str, encoding: str) -> None:
    chance = random.Random(f"{ends} {encoding}")
    pieces = PIECES + 4 * ENDS[ends] + (HALVES if encoding == "utf-16" else [])
    line = Line()
    general = {"positionEncodings": [encoding]}
    await line.say("initialize", {"processId": None, "rootUri": None, "capabilities": {"general": general}}, 0)
    model = Model(encoding)
    text = "".join(chance.choices(pieces, k=60))
    model.units = model.cut(text)
    item = {"uri": URI, "languageId": "c", "version": 0, "text": text}
    await line.say("textDocument/didOpen", {"textDocument": item})
    made = version = 0
    while made < EDITS:
        version += 1
        changes = [change(model, chance, pieces) for _ in range(chance.choice([1, 1, 1, 2, 4]))]
        made += len(changes)
        versioned = {"uri": URI, "version": version}
        await line.say("textDocument/didChange", {"textDocument": versioned, "contentChanges": changes})
        document = line.server.protocol.documents.get(URI)
        assert document is not None
        assert document.text().encode(model.codec, "surrogatepass") == model.text(), f"edit {made}: {changes}"
        assert len(document.lines) == len(model.lines())
    assert document.version == version
