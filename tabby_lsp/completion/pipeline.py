"""The straight line of a completion: context → prompt → tokens → stops → filters → `Completion`.

Runs in the engine process, in steps (see `steps`). The engine is whatever can write tokens: tests use one of ten lines.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from tabby_lsp.completion.confidence import before_doubt, by_line, of_first
from tabby_lsp.completion.filters import ENDING, FILTERS, Filter, clean
from tabby_lsp.completion.layout import Layout, Vocabulary
from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.prompt import Prompt, build
from tabby_lsp.completion.stops import Stop, StopRules, Stops, stop_rules
from tabby_lsp.data import Alternative, Candidate, Completion, CompletionContext, CompletionRequest, Sampling, Timing
from tabby_lsp.steps import Steps

MOST_EARLIER = 16  # prompts that are remembered, of which a document has one or two


@dataclass(frozen=True, slots=True)
class Token:
    """One token that the model wrote: its id, the text it completes, and its probability."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A prompt that has been read: how many of its tokens were computed, how many found in the KV cache."""

    evaluated: int
    reused: int


class Writer(Protocol):
    """A model that reads a prompt and writes tokens, both in steps: between two of them it yields None."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def unread(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt `prefill` would have to compute."""

    def prefill(self, prompt: Sequence[int]) -> Steps[Prefilled]: ...

    def decode(self, sampling: Sampling, pending: bytes = b"") -> Iterator[Token | None]:
        """Tokens after the prompt. The first ones repeat `pending`, and their texts begin behind it."""

    def decode_together(
        self, sampling: Sampling, pending: bytes, wanted: Set[int]
    ) -> Iterator[tuple[int, Token] | None]:
        """The same for several texts, each with its number, that begin differently. Those that are no longer
        `wanted` are not gone on with."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a completion may cost: tokens of its prompt, and time for writing.

    `sizes` are those that a prompt may have, the largest first; the last one can be read while the user waits. `soon`
    tokens are read in a moment. After so many `seconds` of writing the whole lines that there are will do. Lines behind
    the first one are given up where the model has less `confidence` in one.
    """

    sizes: tuple[int, ...]
    soon: int = 0
    seconds: float = math.inf
    confidence: float = 0.0


# The last prompt of each document and budget, the least recently used first.
Earlier = MutableMapping[tuple[str, int], Prompt]


def complete(
    writer: Writer,
    layout: Layout,
    request: CompletionRequest,
    budget: Budget,
    emit: Callable[[str], None] = lambda text: None,
    earlier: Earlier | None = None,
    read_ahead: Callable[[Sequence[Prompt]], None] = lambda prompts: None,
) -> Steps[Completion]:
    """One completion, the best of its candidates. `emit` is given each piece of the first as it is written.

    Where much of the full prompt is still to be read (a file was opened, the cursor has jumped) a smaller one is
    used, and `read_ahead` is given it and the larger ones, which may then be read before one of the next keys.
    """
    context = request.context
    clock = [time.perf_counter()]
    prompts = _choose(writer, layout, request.document, context, budget, {} if earlier is None else earlier)
    prompt = prompts[0]
    if len(prompts) > 1:
        read_ahead(prompts)
    clock.append(time.perf_counter())
    # A model without control tokens has nothing to go on at the beginning of a file.
    prefilled = (yield from writer.prefill(prompt.tokens)) if prompt.tokens else Prefilled(0, 0)
    clock.append(time.perf_counter())
    rules = stop_rules(context, (*layout.family.stop_text, *request.settings.stop_words))
    written = [Candidate("", (), "end token")]
    if prompt.tokens:
        written = yield from _write(writer, layout, request, prompt.pending, rules, emit, budget.seconds)
    clock.append(time.perf_counter())
    text, *others = _worth_showing(written, context, budget.confidence) or [Alternative("", 0)]
    clock.append(time.perf_counter())
    stages = [round((after - before) * 1000, 3) for before, after in itertools.pairwise(clock)]
    return Completion(
        text=text.text,
        replace=text.replace,
        model="",
        layout=prompt.layout,
        evaluated=prefilled.evaluated,
        reused=prefilled.reused,
        generated=sum(len(each.probabilities) for each in written),
        timing=Timing(0.0, *stages),
        candidates=tuple(written),
        alternatives=tuple(others),
        prompt=prompt.text if request.show_prompt else "",
        pending=prompt.pending.decode("utf-8", "replace"),
        confidence=of_first(written[0].text, written[0].lines),
    )


def _worth_showing(written: Sequence[Candidate], context: CompletionContext, confidence: float) -> list[Alternative]:
    """What passes the filters, each text once."""
    texts = dict.fromkeys(cleaned(each, confidence, context) for each in written)
    return [Alternative(text, overtyped(text, context)) for text in texts if text]


def cleaned(
    written: Candidate, confidence: float, context: CompletionContext, filters: Sequence[Filter] = FILTERS
) -> str:
    """What the model was sure of, after the filters. What it had no time to end is gone on with when it is asked again,
    and so is not ended for it."""
    text = before_doubt(written.text, written.lines, confidence)
    goes_on = written.stop == "time" and text == written.text
    return clean(text, context, [each for each in filters if not (goes_on and each in ENDING)])


def _choose(
    writer: Writer, layout: Layout, document: str, context: CompletionContext, budget: Budget, earlier: Earlier
) -> list[Prompt]:
    """The largest prompt that is nearly read, or else the one that is read soonest; behind it, the larger ones."""
    prompts: list[Prompt] = []
    unread: list[int] = []
    for size in budget.sizes:
        if size == budget.sizes[-1] < budget.sizes[0]:  # what is read in a hurry is the text around the cursor
            context = dataclasses.replace(context, snippets=())
        prompts.append(_build(layout, document, context, size, earlier))
        unread.append(writer.unread(prompts[-1].tokens))
        if unread[-1] <= budget.soon:
            break
    chosen = unread.index(min(unread))
    return prompts[chosen::-1]


def _build(layout: Layout, document: str, context: CompletionContext, budget: int, earlier: Earlier) -> Prompt:
    prompt = build(layout, context, budget, earlier.pop((document, budget), None))
    earlier[document, budget] = prompt
    while len(earlier) > MOST_EARLIER:
        del earlier[next(iter(earlier))]
    return prompt


@dataclass(slots=True)
class _Writing:
    """A text that is being written."""

    stops: Stops
    text: str = ""
    probabilities: list[float] = field(default_factory=list)
    shown: list[tuple[int, float]] = field(default_factory=list)  # line and probability, of what is new in the text
    stop: Stop | None = None
    ended: bool = False

    def take(self, token: Token, is_end: bool) -> bool:
        """Takes in the next token. False if nothing follows it."""
        self.probabilities.append(round(token.probability, 5))
        self.ended = is_end
        if not is_end:
            if token.text:
                line = self.text.count("\n") + token.text.startswith("\n")
                self.shown.append((line, token.probability))
            self.text += token.text
            self.stop = self.stops.find(self.text)
        return not (self.ended or self.stop)

    @property
    def has_lines(self) -> bool:
        return bool(self.text.rpartition("\n")[0].strip())

    def candidate(self, late: bool) -> Candidate:
        """What was written, by now or until it was too `late` to go on."""
        if self.stop:
            text, reason = self.text[: self.stop.length], self.stop.reason
        elif self.ended:
            text, reason = self.text, "end token"
        else:  # out of tokens or time in the middle of a line: a half line after whole ones is not worth showing
            text, reason = self.text.rpartition("\n")[0] if self.has_lines else self.text, "time" if late else "length"
        lines = by_line(self.shown, text.count("\n") + 1)
        return Candidate(text, tuple(self.probabilities), reason, lines)


def _write(
    writer: Writer,
    layout: Layout,
    request: CompletionRequest,
    pending: bytes,
    rules: StopRules,
    emit: Callable[[str], None],
    seconds: float,
) -> Steps[list[Candidate]]:
    end = time.perf_counter() + seconds
    writings = [_Writing(Stops(rules)) for _ in range(request.candidates)]
    wanted, late = set(range(request.candidates)), False
    tokens: Iterator[tuple[int, Token] | None]
    if request.candidates == 1:
        alone = writer.decode(request.sampling, pending)
        tokens = (None if token is None else (0, token) for token in alone)
    else:
        tokens = writer.decode_together(request.sampling, pending, wanted)
    for numbered in tokens:
        if numbered is None:
            yield
            continue
        number, token = numbered
        writing = writings[number]
        is_end = writer.vocabulary.is_end(token.id) or token.id in layout.stop_tokens
        goes_on = writing.take(token, is_end)
        late = goes_on and writing.has_lines and time.perf_counter() > end
        if late or not goes_on:
            wanted.discard(number)
            if not wanted:
                break
        elif number == 0 and token.text:
            emit(token.text)
    return [each.candidate(late) for each in writings if each.probabilities]
