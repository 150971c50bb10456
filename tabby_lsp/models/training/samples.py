"""How a training sample is cut from a file and laid out: the layouts are the ones the server prompts with.

The server's suffix starts at the end of the cursor's line when only closers stand right of the cursor, so
most middles run to a line's end and most suffixes begin with a newline. Prefix, middle and suffix are
tokenised apart, as the server does, so a middle often starts inside a word. Knows nothing of tensors.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from tabby_lsp.models.training.corpus import Source
from tabby_lsp.models.training.tokenizer import END, FILE_SEP, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, REPO_NAME

Encode = Callable[[str], list[int]]

LINE_SHARE, BLOCK_SHARE = 0.55, 0.25  # of middles; the rest are spans of characters
PLAIN_SHARE, SUFFIX_FIRST_SHARE = 0.06, 0.60  # of samples; the rest are prefix first
REPOSITORY_SHARE = 0.17
EMPTY_PREFIX_SHARE, EMPTY_SUFFIX_SHARE = 0.02, 0.04
MAX_BLOCK_LINES = 8
CHARS_PER_TOKEN = 3.6
MAX_SPAN_CHARS = 240
SHORTEST = 64  # tokens; what is left of a row below this is filled with plain text, some 6 % of all tokens
# What the middle teaches is what the product does, but a model this small and this briefly trained needs the
# language of every token: 0.5 keeps about nine tenths of the effective number of tokens, 0.3 three quarters.
CONTEXT_WEIGHT = 0.5
WORD_ENDS = re.compile(r"[A-Za-z_]\w*|[^\w\s]+\s?|\s+")


@dataclass(frozen=True)
class Cut:
    """The middle: characters start to end of a file."""

    start: int
    end: int


@dataclass(frozen=True)
class Hole:
    prefix: str
    middle: str
    suffix: str


@dataclass(frozen=True)
class Sample:
    ids: list[int]
    weights: list[float]  # how much predicting the id at the same place counts


def pick_start(text: str, rng: random.Random) -> int:
    """A cursor: after a line's indentation, after a word, operator or bracket, or anywhere in the line."""
    for _ in range(8):
        anywhere = rng.randrange(len(text) + 1)
        begin = text.rfind("\n", 0, anywhere) + 1
        line = text[begin : line_end(text, begin)]
        if line.strip() or rng.random() < 0.05:
            break
    indent = len(line) - len(line.lstrip())
    kind = rng.random()
    if kind < 0.30:
        return begin + indent
    if kind < 0.70:
        ends = [match.end() for match in WORD_ENDS.finditer(line, indent)]
        return begin + (rng.choice(ends) if ends else indent)
    return begin + rng.randint(indent, len(line))


def line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found


def block_end(text: str, start: int, most_lines: int) -> int:
    """The end of the last line, from the one at `start` on, that is not indented less than it."""
    begin = text.rfind("\n", 0, start) + 1
    end = line_end(text, start)
    line = text[begin:end]
    indent = len(line) - len(line.lstrip())
    for _ in range(most_lines - 1):
        if end >= len(text):
            break
        following = line_end(text, end + 1)
        line = text[end + 1 : following]
        if not line.strip() or len(line) - len(line.lstrip()) < indent:
            break
        end = following
    return end


def cut_middle(text: str, rng: random.Random) -> Cut:
    start = pick_start(text, rng)
    kind = rng.random()
    if kind < LINE_SHARE:
        return Cut(start, line_end(text, start))
    if kind < LINE_SHARE + BLOCK_SHARE:
        return Cut(start, block_end(text, start, rng.randint(2, MAX_BLOCK_LINES)))
    length = round(MAX_SPAN_CHARS ** rng.random())
    return Cut(start, min(len(text), start + length))


def open_hole(text: str, cut: Cut, chars_before: int, chars_after: int) -> Hole:
    """The hole with a window around it: the prefix from a line's start, the suffix to a line's end."""
    first = max(0, cut.start - chars_before)
    if first:
        newline = text.find("\n", first, cut.start)
        first = text.rfind("\n", 0, cut.start) + 1 if newline < 0 else newline + 1
    last = min(len(text), cut.end + chars_after)
    if last < len(text):
        newline = text.rfind("\n", cut.end, last)
        last = line_end(text, last) if newline < 0 else newline
    return Hole(text[first : cut.start], text[cut.start : cut.end], text[cut.end : last])


def fim_ids(prefix: list[int], suffix: list[int], suffix_first: bool) -> list[int]:
    """The prompt, up to where the middle begins."""
    if suffix_first:
        return [FIM_SUFFIX, *suffix, FIM_PREFIX, *prefix, FIM_MIDDLE]
    return [FIM_PREFIX, *prefix, FIM_SUFFIX, *suffix, FIM_MIDDLE]


def repository_ids(name: str, related: list[tuple[str, str]], path: str, encode: Encode) -> list[int]:
    """What stands before the prompt when related files are given."""
    ids = [REPO_NAME, *encode(name + "\n")]
    for other, code in related:
        ids += [FILE_SEP, *encode(f"{other}\n{code}\n")]
    return [*ids, FILE_SEP, *encode(path + "\n")]


class Sampler:
    """An endless, reproducible stream of packed rows; its state is that of its random generator."""

    def __init__(self, sources: list[Source], encode: Encode, seed: int) -> None:
        self.rng = random.Random(seed)
        self._sources = sources
        self._encode = encode
        self._ends = list(accumulate(len(source.text) for source in sources))
        self._folders: dict[str, list[Source]] = defaultdict(list)
        for source in sources:
            self._folders[_folder(source)].append(source)

    def row(self, length: int) -> Sample:
        """Samples side by side, exactly `length` tokens."""
        ids: list[int] = []
        weights: list[float] = []
        while (room := length - len(ids)) > 0:
            sample = self._sample(room) if room >= SHORTEST else self._plain(room)
            ids += sample.ids
            weights += sample.weights
        return Sample(ids, weights)

    def _sample(self, room: int) -> Sample:
        rng = self.rng
        # Sizes spread evenly on a log scale: short samples hold more middles and ends for the same tokens.
        size = round(SHORTEST * (room / SHORTEST) ** rng.random())
        if rng.random() < PLAIN_SHARE:
            return self._plain(size)
        source = self._source()
        head = self._head(source, size) if size >= 2 * SHORTEST and rng.random() < REPOSITORY_SHARE else []
        return self._fim(source, head, size - len(head))

    def _fim(self, source: Source, head: list[int], size: int) -> Sample:
        rng, encode = self.rng, self._encode
        cut = cut_middle(source.text, rng)
        middle = [*encode(source.text[cut.start : cut.end]), END]
        middle = middle[: size // 2]  # a long one just goes on
        before_share = rng.uniform(0.45, 0.9)
        empty = rng.random()
        if empty < EMPTY_SUFFIX_SHARE:
            before_share = 1.0
        elif empty > 1 - EMPTY_PREFIX_SHARE:
            cut, before_share = Cut(0, line_end(source.text, 0)), 0.0
            middle = [*encode(source.text[: cut.end]), END][: size // 2]
        room = size - len(middle) - 3
        # Mostly whole lines fit; where a token is few characters, tokens are kept from the middle outwards.
        chars = CHARS_PER_TOKEN * room
        hole = open_hole(source.text, cut, round(chars * before_share), round(chars * (1 - before_share)))
        prefix, suffix = encode(hole.prefix), encode(hole.suffix if before_share < 1 else "")
        keep_after = min(len(suffix), max(round(room * (1 - before_share)), room - len(prefix)))
        prefix, suffix = prefix[max(0, len(prefix) - (room - keep_after)) :], suffix[:keep_after]
        share = SUFFIX_FIRST_SHARE / (1 - PLAIN_SHARE)
        context = [*head, *fim_ids(prefix, suffix, suffix_first=rng.random() < share)]
        return Sample([*context, *middle], [CONTEXT_WEIGHT] * len(context) + [1.0] * len(middle))

    def _head(self, source: Source, size: int) -> list[int]:
        others = [other for other in self._folders[_folder(source)] if other.path != source.path]
        if not others:
            return []
        chosen = self.rng.sample(others, min(len(others), self.rng.choice((1, 1, 2, 3))))
        chars = round(3 * size * self.rng.uniform(0.25, 0.5) / len(chosen))
        related = [(other.path, _window(other.text, chars, self.rng)) for other in chosen]
        ids = repository_ids(source.package, related, source.path, self._encode)
        return ids if len(ids) <= size - SHORTEST else []

    def _plain(self, room: int) -> Sample:
        text = self._source().text
        begin = text.rfind("\n", 0, self.rng.randrange(len(text))) + 1
        ids = [*self._encode(text[begin : begin + 6 * room]), END]
        if len(text) > begin + 6 * room:
            ids.pop()
        return Sample(ids[:room], [CONTEXT_WEIGHT] * min(room, len(ids)))

    def _source(self) -> Source:
        return self._sources[bisect_right(self._ends, self.rng.randrange(self._ends[-1]))]


def _folder(source: Source) -> str:
    return f"{source.package}:{source.path.rpartition('/')[0]}"


def _window(text: str, chars: int, rng: random.Random) -> str:
    """Whole lines from a random place of a file."""
    begin = text.rfind("\n", 0, rng.randrange(max(1, len(text) - chars))) + 1
    end = text.rfind("\n", begin, begin + chars)
    return text[begin : end if end > begin else begin + chars]
