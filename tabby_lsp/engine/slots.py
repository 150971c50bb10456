"""What the KV cache holds: a few slots, the one that was used least recently taken for a new text.

A prompt is read from where it first differs from what a slot holds, whatever it was read for: coming back to a file, to
a place, or to a prompt that was read ahead are the same thing. Jobs of several classes take turns at it step by step
(see `steps`), so a job may find its slot taken, or emptied by an abort: it then reads its tokens again. Knows no text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled
from tabby_lsp.engine.model import Model
from tabby_lsp.steps import Steps

MOST_KNOWN = 4  # logits that a slot keeps, of four bytes for each token of the vocabulary
BLOCK = 128  # tokens that are compared at once, which Python does many times faster than one by one


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence of llama.cpp's KV cache and the tokens it holds, which are known to the last one at all times.

    `logits` are those after the prompt last read. `known` are those after so many of its tokens, where a prompt ended:
    while one types within a word the prompt stays the same (see `completion.prompt`), and nothing needs to be computed
    to write again, also if what follows was written in between. `holder` is the job that goes on from it.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    logits: npt.NDArray[np.float32] | None = None
    known: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    holder: object | None = None


class Slots:
    """`measured` is told of every step its number of tokens and its milliseconds."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._slots = [Slot(sequence) for sequence in range(model.sequences)]  # least recently used first
        self.measured: Callable[[int, float], None] = lambda tokens, milliseconds: None
        self._interrupted = False  # the last prompt that somebody waited for was not read to its end

    def unread(self, prompt: Sequence[int], holder: object = None) -> int:
        """How many tokens of a prompt the job would have to compute."""
        return len(prompt) - common_prefix(self._nearest(prompt, holder).tokens, prompt)

    def take(self, prompt: Sequence[int], holder: object) -> Slot:
        """The slot to read a prompt in: the one that holds most of it, or else the one used least recently.

        What another job goes on from is taken only where there is nothing else; that job then reads it again.
        """
        slot = self._nearest(prompt, holder)
        shared = common_prefix(slot.tokens, prompt)
        if 2 * shared < min(len(slot.tokens), len(prompt)):  # another text, or another place of it
            slot = self._free(holder)[0]
        self._slots.remove(slot)
        self._slots.append(slot)
        slot.holder = holder
        return slot

    def release(self, holder: object) -> None:
        """The job has ended: what it held is free for others."""
        for slot in self._slots:
            if slot.holder is holder:
                slot.holder = None

    def prefill(self, prompt: Sequence[int], holder: object, patient: bool = False) -> Steps[tuple[Slot, Prefilled]]:
        """Reads a prompt; the slot then has the logits after its last token.

        What was read is kept for the next prompt, but for the step in which it was stopped. So the steps are short
        where that is likely: if nobody waits for it (`patient`), or if the prompt before was stopped, as happens while
        one types. They grow with the time in which nothing did.
        """
        slot = self.take(prompt, holder)
        shared = common_prefix(slot.tokens, prompt)
        known = slot.known.get(shared) if shared == len(prompt) else None
        if known is not None:
            self.keep(slot, shared)
            if len(slot.tokens) == shared:
                slot.logits = known
                return slot, Prefilled(0, shared)
        # The last token is evaluated even if the cache holds it: its logits are what decoding begins with.
        self.keep(slot, min(shared, len(prompt) - 1))
        slot.logits = None
        reused = len(slot.tokens)
        careful = patient or self._interrupted
        if not patient:
            self._interrupted = True
        begin = time.perf_counter()
        while len(slot.tokens) < len(prompt):
            place = len(slot.tokens)
            step = self._step(begin, careful)
            if not (yield from self.extend(slot, prompt[place : place + step], holder)):
                slot = self.take(prompt, holder)
                self.keep(slot, min(common_prefix(slot.tokens, prompt), len(prompt) - 1))
                reused, begin = min(reused, len(slot.tokens)), time.perf_counter()
        if not patient:
            self._interrupted = False
        slot.logits = slot.known[len(prompt)] = self._model.logits().copy()
        while len(slot.known) > MOST_KNOWN:
            del slot.known[next(iter(slot.known))]
        return slot, Prefilled(len(prompt) - reused, reused)

    def _step(self, begin: float, careful: bool) -> int:
        """Tokens of the next step of a prompt, undisturbed since `begin`."""
        now = time.perf_counter()
        if not careful:
            return self._model.batch_size(now)
        # A memory that cannot be cut is not stopped in mid-step for other work, so a step must not be long.
        undisturbed = (now - begin) * 1000 if self._model.rolls_back else 0.0
        return self._model.batch_within(undisturbed / 2, now)

    def retire(self, prompt: Sequence[int], better: Sequence[int], holder: object) -> None:
        """A prompt is of no more use since a better one is read: its slot is the next to be taken for another."""
        slot = self._nearest(prompt, holder)
        if slot is not self._nearest(better, holder):
            self._slots.remove(slot)
            self._slots.insert(0, slot)

    def extend(self, slot: Slot, tokens: Sequence[int], holder: object, outputs: int = 1) -> Steps[bool]:
        """Evaluates more tokens at the end of a slot, in one step. The logits of the last `outputs` of them can then be
        read, until the next step. False if what it held is gone: another job has taken it, or it could not be cut back
        after an abort.
        """
        place = len(slot.tokens)
        while True:
            yield
            if slot.holder is not holder or len(slot.tokens) != place:
                return False
            milliseconds = None
            try:
                milliseconds = self._model.evaluate(tokens, place, slot.sequence, outputs)
            finally:
                if milliseconds is None:  # parts of the batch may have been done: ask the cache
                    self.keep(slot, min(self._model.held(slot.sequence), place))
            if milliseconds is not None:
                slot.tokens.extend(tokens)
                self.measured(len(tokens), milliseconds)
                return True

    def keep(self, slot: Slot, length: int) -> None:
        """Drops what a slot holds behind `length` tokens; all of it where the memory cannot do that."""
        if length == len(slot.tokens) == self._model.held(slot.sequence):
            return
        kept = self._model.truncate(slot.sequence, length)
        del slot.tokens[length if kept else 0 :]
        slot.known = {end: logits for end, logits in slot.known.items() if end <= len(slot.tokens)}

    def branch(self, slot: Slot, count: int, holder: object) -> list[Slot]:
        """At most so many others, which now hold what a slot does, to go on from it in other ways.

        They are those used least recently, and what they held is lost: slots for this alone would cost the memory of a
        document each. None that another job goes on from is among them.
        """
        others = [each for each in self._slots if each is not slot and each.holder in (None, holder)][:count]
        for each in others:
            self._model.truncate(each.sequence, 0)
            self._model.share(slot.sequence, each.sequence)
            each.tokens, each.logits, each.known, each.holder = list(slot.tokens), None, {}, holder
        return others

    def extend_together(self, slots: Sequence[Slot], tokens: Sequence[int], holder: object) -> Steps[bool]:
        """Evaluates one token at the end of each slot; all their logits can then be read. False as for `extend`."""
        lengths = [len(each.tokens) for each in slots]
        places = [(token, length, each.sequence) for token, length, each in zip(tokens, lengths, slots, strict=True)]
        while True:
            yield
            if any(each.holder is not holder for each in slots) or [len(each.tokens) for each in slots] != lengths:
                return False
            done = False
            try:
                done = self._model.evaluate_together(places)
            finally:
                if not done:
                    for each in slots:
                        self.keep(each, min(self._model.held(each.sequence), len(each.tokens)))
            if done:
                for each, token in zip(slots, tokens, strict=True):
                    each.tokens.append(token)
                return True

    def _free(self, holder: object) -> list[Slot]:
        """The slots that no other job goes on from, or all where there is none, those used least recently first."""
        return [each for each in self._slots if each.holder in (None, holder)] or self._slots

    def _nearest(self, prompt: Sequence[int], holder: object) -> Slot:
        return max(reversed(self._free(holder)), key=lambda slot: common_prefix(slot.tokens, prompt))


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with alike."""
    shorter = min(len(left), len(right))
    place = 0
    while place < shorter and [*left[place : place + BLOCK]] == [*right[place : place + BLOCK]]:
        place += BLOCK
    pairs = zip(left[place : place + BLOCK], right[place : place + BLOCK], strict=False)
    return min(shorter, place + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
