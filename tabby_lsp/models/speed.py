"""How fast a model will be on this machine, before it is fetched: worked out from its size and from what
`engine/yardstick.py` has measured.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.data import OwnModel
from tabby_lsp.engine import gguf
from tabby_lsp.engine.gguf import Header
from tabby_lsp.models import catalogue, overview
from tabby_lsp.models.catalogue import Entry
from tabby_lsp.models.overview import Row
from tabby_lsp.processes.once import Died, output_of

# A suggestion is a line, of some twelve tokens, behind some three that are new in the prompt; it should come within a
# second, or one has typed on. A chat's answer has to be written as fast as one reads, five words or so a second, and to
# begin within half a minute behind a prompt of a thousand tokens.
LINE, NEW, LINE_SECONDS = 12, 3, 1.0
READING, CHAT_PROMPT, CHAT_SECONDS = 6.0, 1000, 30.0


class CannotMeasure(Exception):
    """Why the machine's speed is not known."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine computes with weights of one kind: of prompts weights times tokens, of answers bytes, a second."""

    prompt: float
    answer: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second."""

    prompt: float
    answer: float

    @property
    def line_seconds(self) -> float:
        """Until a suggestion of one line is written while one types."""
        return NEW / self.prompt + LINE / self.answer

    @property
    def completes_in_time(self) -> bool:
        return self.line_seconds <= LINE_SECONDS

    @property
    def chats_in_time(self) -> bool:
        return self.answer >= READING and CHAT_PROMPT / self.prompt <= CHAT_SECONDS


def measure() -> dict[str, Rates]:
    """The rates of this machine by kind of weights: some ten seconds. Raises CannotMeasure."""
    try:
        measured = json.loads(output_of("tabby_lsp.engine.yardstick", 120))
    except Died as error:
        raise CannotMeasure(f"llama.cpp's speed cannot be measured: {error}") from None
    return {kind: Rates(*rates) for kind, rates in measured.items()}


def of_file(header: Header, size: int, rates: Mapping[str, Rates]) -> Speed:
    """The speed of a model whose head is known. Its embedding is looked up and not computed with, but for the last
    token, where it or a matrix like it gives the answer.
    """
    embedding = header.vocabulary * header.width
    computed = header.parameters - embedding * (1 if header.tied else 2)
    walked = size * (1.0 if header.tied else 1 - embedding / max(1, header.parameters))
    return _speed(computed * header.active, walked * header.active, _kind(header.quantisation), rates)


def of_entry(entry: Entry, rates: Mapping[str, Rates]) -> Speed | None:
    """The speed of a model of which only the size is known, None if that is not."""
    size, _ = overview.size_of(entry)
    weights = overview.weights_of(entry)
    if not size or not weights:
        return None
    active = re.fullmatch(r"([\d.]+)B-A([\d.]+)B", entry.parameters)  # of a mixture of experts some are asked
    share = float(active[2]) / float(active[1]) if active else 1.0
    source = entry.sources[0]
    kind = _kind(source.quantisation or (source.parts[0].path if source.parts else ""))
    return _speed(weights * share, size * share, kind, rates)


def of_row(row: Row, own: Iterable[OwnModel], rates: Mapping[str, Rates]) -> Speed | None:
    """The speed of a model of the table: by the head of its file if that is here, else by its size."""
    if row.path:
        with contextlib.suppress(gguf.HeaderError, OSError):
            return of_file(gguf.read_header(Path(row.path)), row.size, rates)
    entry = catalogue.look_up(row.name, catalogue.entries(own))
    return of_entry(entry, rates) if entry else None


def picks(measured: Iterable[tuple[Row, Speed | None]]) -> dict[str, str]:
    """For each role the largest of the recommended models that fits and is fast enough, empty if none is."""
    by_name = {row.name: (row, speed) for row, speed in measured}
    chosen = {}
    for role, names in overview.SUITABLE.items():
        chosen[role] = ""
        for name in names:
            row, speed = by_name[name]
            if speed and row.fits and (speed.completes_in_time if role == "completion" else speed.chats_in_time):
                chosen[role] = name
    return chosen


def _speed(weights: float, size: float, kind: str, rates: Mapping[str, Rates]) -> Speed:
    return Speed(rates[kind].prompt / max(1.0, weights), rates[kind].answer / max(1.0, size))


def _kind(quantisation: str) -> str:
    """The measured kind that is likest: those of four bits and fewer need as much unpacking as Q4_K."""
    return "Q4_K" if re.search(r"q[234]_", quantisation.lower()) else "Q8_0"
