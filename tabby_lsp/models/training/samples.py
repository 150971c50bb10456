"""How a training sample is cut from a file and laid out: the layouts are the ones the server prompts with.

The server's suffix starts at the end of the cursor's line when only closers stand right of the cursor, so
most middles run to a line's end and most suffixes begin with a newline. Prefix, middle and suffix are
tokenised apart, as the server does, so a middle often starts inside a word. A small share are questions and
answers made from functions and their docstrings, in ChatML. Knows nothing of tensors.
"""

from __future__ import annotations

import random
import re
import textwrap
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from tabby_lsp.models.training.corpus import Source
from tabby_lsp.models.training.tokenizer import (
    END,
    FILE_SEP,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    IM_END,
    IM_START,
    REPO_NAME,
)

Encode = Callable[[str], list[int]]

LINE_SHARE, BLOCK_SHARE = 0.60, 0.25  # of middles; the rest are spans of characters
PLAIN_SHARE, CHAT_SHARE, SUFFIX_FIRST_SHARE = 0.08, 0.01, 0.91  # of samples; what is left, prefix first: nothing
REPOSITORY_SHARE = 0.17
PROSE_KEPT = 0.35  # of the middles drawn within comments and docstrings; people complete code
EMPTY_PREFIX_SHARE, EMPTY_SUFFIX_SHARE = 0.02, 0.04
MAX_BLOCK_LINES = 8
CHARS_PER_TOKEN = 3.6
MAX_SPAN_CHARS = 240
SHORTEST = 64  # tokens; what is left of a row below this is filled with plain text, some 6 % of all tokens
WORD_ENDS = re.compile(r"[A-Za-z_]\w*|[^\w\s]+\s?|\s+")
DOCUMENTED = re.compile(
    r"^(?P<indent>[ ]*)(?P<signature>def (?P<name>\w+)\([^\n]*(?:\n[^\n]*){0,7}?:)\n"
    r'(?P=indent)[ ]{4}"""(?P<summary>[^"\n]{12,120})(?P<more>[^"]{0,600})"""\n',
    re.MULTILINE,
)
MOST_BODY_LINES = 30
QUESTIONS = {
    "write": (
        "Write a Python function that does this: {summary}\n```python\n{signature}\n```",
        'Implement this function.\n```python\n{signature}\n    """{summary}"""\n```',
    ),
    "document": (
        "Write a docstring for this function.\n```python\n{code}\n```",
        "Document this function:\n```python\n{code}\n```",
    ),
    "explain": (
        "What does this code do?\n```python\n{code}\n```",
        "Explain the function {name}.\n```python\n{code}\n```",
    ),
}


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
    middle: list[bool]  # whether the id at the same place is of a middle or an answer, its end token included


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


def is_prose(text: str, start: int) -> bool:
    """Whether a cursor stands in a comment or, as the quotes before it have it, in a docstring."""
    begin = text.rfind("\n", 0, start) + 1
    quotes = text.count('"""', 0, start) + text.count("'''", 0, start)
    return quotes % 2 == 1 or "#" in text[begin:start]


def cut_middle(text: str, rng: random.Random) -> Cut:
    start = pick_start(text, rng)
    while is_prose(text, start) and rng.random() > PROSE_KEPT:
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


def function_end(text: str, start: int, indent: int) -> int:
    """The end of a body whose lines are indented deeper than `indent`; trailing blank lines are not of it."""
    end = start
    while start < len(text):
        stop = line_end(text, start)
        line = text[start:stop]
        if line.strip():
            if len(line) - len(line.lstrip()) <= indent:
                break
            end = stop
        start = stop + 1
    return end


def find_lesson(text: str, rng: random.Random) -> tuple[str, str] | None:
    """A question about a documented function after a random place of the file, and its answer."""
    found = DOCUMENTED.search(text, rng.randrange(len(text)))
    if not found:
        return None
    indent = len(found["indent"])
    body = text[found.end() : function_end(text, found.end(), indent)].rstrip()
    if not body or body.count("\n") > MOST_BODY_LINES:
        return None
    code = textwrap.dedent(f"{found['indent']}{found['signature']}\n{body}")
    signature = textwrap.dedent(found["indent"] + found["signature"])
    summary = found["summary"].strip()
    kind = rng.choice(tuple(QUESTIONS))
    question = rng.choice(QUESTIONS[kind]).format(summary=summary, signature=signature, code=code, name=found["name"])
    docstring = textwrap.dedent(" " * (indent + 4) + found["summary"] + found["more"]).rstrip()
    answers = {
        "write": f"```python\n{code}\n```",
        "document": f'```python\n"""{docstring}"""\n```',
        "explain": summary,
    }
    return question, answers[kind]


def chat_ids(question: str, encode: Encode) -> list[int]:
    """ChatML, up to where the assistant's answer begins; what the GGUF file's chat template renders."""
    user, assistant = encode(f"user\n{question}"), encode("assistant\n")
    return [IM_START, *user, IM_END, *encode("\n"), IM_START, *assistant]


class Sampler:
    """An endless, reproducible stream of packed rows; its state is that of its random generator."""

    def __init__(self, sources: list[Source], encode: Encode, seed: int) -> None:
        self.rng = random.Random(seed)
        self._seed = seed
        self._sources = sources
        self._encode = encode
        self._ends = list(accumulate(len(source.text) for source in sources))
        self._folders: dict[str, list[Source]] = defaultdict(list)
        for source in sources:
            self._folders[_folder(source)].append(source)

    def rows(self, step: int, count: int, length: int) -> list[Sample]:
        """What a training step sees: the same for the same step, however training came to it."""
        self.rng.seed(f"{self._seed}/{step}")
        return [self.row(length) for _ in range(count)]

    def row(self, length: int) -> Sample:
        """Samples side by side, exactly `length` tokens."""
        ids: list[int] = []
        middle: list[bool] = []
        while (room := length - len(ids)) > 0:
            sample = self._sample(room) if room >= SHORTEST else self._plain(room)
            ids += sample.ids
            middle += sample.middle
        return Sample(ids, middle)

    def _sample(self, room: int) -> Sample:
        rng = self.rng
        # Sizes spread evenly on a log scale: short samples hold more middles and ends for the same tokens.
        size = round(SHORTEST * (room / SHORTEST) ** rng.random())
        kind = rng.random()
        if kind < PLAIN_SHARE:
            return self._plain(size)
        source = self._source()
        if kind > 1 - CHAT_SHARE and (lesson := self._chat(source, room)):
            return lesson
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
        share = SUFFIX_FIRST_SHARE / (1 - PLAIN_SHARE - CHAT_SHARE)
        context = [*head, *fim_ids(prefix, suffix, suffix_first=rng.random() < share)]
        return Sample([*context, *middle], [False] * len(context) + [True] * len(middle))

    def _chat(self, source: Source, room: int) -> Sample | None:
        lesson = find_lesson(source.text, self.rng)
        if not lesson:
            return None
        context, answer = chat_ids(lesson[0], self._encode), [*self._encode(lesson[1]), IM_END]
        if len(context) + len(answer) > room:
            return None
        return Sample([*context, *answer], [False] * len(context) + [True] * len(answer))

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
        return Sample(ids[:room], [False] * min(room, len(ids)))

    def _source(self) -> Source:
        return self._sources[bisect_right(self._ends, self.rng.randrange(self._ends[-1]))]


def _folder(source: Source) -> str:
    return f"{source.package}:{source.path.rpartition('/')[0]}"


def _window(text: str, chars: int, rng: random.Random) -> str:
    """Whole lines from a random place of a file."""
    begin = text.rfind("\n", 0, rng.randrange(max(1, len(text) - chars))) + 1
    end = text.rfind("\n", begin, begin + chars)
    return text[begin : end if end > begin else begin + chars]
