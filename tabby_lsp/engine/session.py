"""What the KV cache holds: a few sequences, the one that was used least recently taken for a new text.

A prompt is read from where it first differs from what a sequence holds, whatever it was read for: coming back to a
file, to a place, or to a prompt that was read ahead are the same thing. Knows no text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled
from tabby_lsp.engine.model import Cancelled, Model

MOST_KNOWN = 4  # logits that a session keeps, of four bytes for each token of the vocabulary
BLOCK = 128  # tokens that are compared at once, which Python does many times faster than one by one


@dataclass(slots=True, eq=False)
class Session:
    """A sequence of the KV cache and the tokens it holds, which are known to the last one at all times.

    `logits` are those after the prompt last read. `known` are those after so many of its tokens, where a prompt ended:
    while one types within a word the prompt stays the same (see `completion.prompt`), and nothing needs to be computed
    to write again, also if what follows was written in between. A pinned one is not taken for other texts.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    logits: npt.NDArray[np.float32] | None = None
    known: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    pinned: bool = False


class Sessions:
    """`yielded` is called when computing was stopped; it says whether that was only for a while: then it goes on.

    `measured` is told of every step its number of tokens and its milliseconds.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._sessions = [Session(sequence) for sequence in range(model.sequences)]  # least recently used first
        self.yielded: Callable[[], bool] = lambda: False
        self.measured: Callable[[int, float], None] = lambda tokens, milliseconds: None
        self._interrupted = False  # the last prompt that somebody waited for was not read to its end

    def unread(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt would have to be computed."""
        return len(prompt) - common_prefix(self._nearest(prompt).tokens, prompt)

    def take(self, prompt: Sequence[int]) -> Session:
        """The session to read a prompt in: the one that holds most of it, or else the one used least recently."""
        session = self._nearest(prompt)
        shared = common_prefix(session.tokens, prompt)
        if 2 * shared < min(len(session.tokens), len(prompt)):  # another text, or another place of it
            session = next(each for each in self._sessions if not each.pinned)
        self._sessions.remove(session)
        self._sessions.append(session)
        return session

    def prefill(self, prompt: Sequence[int], patient: bool = False, pinned: bool = False) -> tuple[Session, Prefilled]:
        """Reads a prompt; the session then has the logits after its last token.

        Raises Cancelled; what was read until then is kept for the next prompt, but for the step in which it was
        stopped. So the steps are short where that is likely: if it is `patient`, or if the prompt before was stopped,
        as happens while one types. They grow with the time in which nothing did.
        """
        session = self.take(prompt)
        session.pinned = pinned
        shared = common_prefix(session.tokens, prompt)
        known = session.known.get(shared) if shared == len(prompt) else None
        if known is not None:
            self.keep(session, shared)
            if len(session.tokens) == shared:
                session.logits = known
                return session, Prefilled(0, shared)
        # The last token is evaluated even if the cache holds it: its logits are what decoding begins with.
        self.keep(session, min(shared, len(prompt) - 1))
        session.logits = None
        reused = len(session.tokens)
        careful = patient or self._interrupted
        if not patient:
            self._interrupted = True
        begin = time.perf_counter()
        while len(session.tokens) < len(prompt):
            place = len(session.tokens)
            undisturbed = (time.perf_counter() - begin) * 1000
            step = self._model.batch_within(undisturbed / 2) if careful else self._model.batch_size
            self.extend(session, prompt[place : place + step])
        if not patient:
            self._interrupted = False
        session.logits = session.known[len(prompt)] = self._model.logits().copy()
        while len(session.known) > MOST_KNOWN:
            del session.known[next(iter(session.known))]
        return session, Prefilled(len(prompt) - reused, reused)

    def give_up(self, prompt: Sequence[int], better: Sequence[int]) -> None:
        """A prompt is of no more use since a better one is read: its session is the next to be taken for another."""
        session = self._nearest(prompt)
        if session is not self._nearest(better):
            self._sessions.remove(session)
            self._sessions.insert(0, session)

    def extend(self, session: Session, tokens: Sequence[int], outputs: int = 1) -> None:
        """Evaluates more tokens at the end of a sequence. The logits of the last `outputs` of them can then be read.
        Raises Cancelled, the session then being in order.
        """
        place = len(session.tokens)
        while True:
            try:
                milliseconds = self._model.evaluate(tokens, place, session.sequence, outputs)
            except Cancelled:
                # Parts of the batch may have been done before the flag was seen: ask the cache, then say it again.
                self.keep(session, min(self._model.held(session.sequence), place))
                if len(session.tokens) < place or not self.yielded():
                    raise
            else:
                session.tokens.extend(tokens)
                self.measured(len(tokens), milliseconds)
                return

    def keep(self, session: Session, length: int) -> None:
        """Drops what the sequence holds behind `length` tokens; all of it where the memory cannot do that."""
        if length == len(session.tokens) == self._model.held(session.sequence):
            return
        kept = self._model.truncate(session.sequence, length)
        del session.tokens[length if kept else 0 :]
        session.known = {end: logits for end, logits in session.known.items() if end <= len(session.tokens)}

    def branch(self, session: Session, count: int) -> list[Session]:
        """At most so many others, which now hold what a session does, to go on from it in other ways.

        They are those used least recently, and what they held is lost: sequences for this alone would cost the memory
        of a document each.
        """
        others = [each for each in self._sessions if each is not session and not each.pinned][:count]
        for each in others:
            self._model.truncate(each.sequence, 0)
            self._model.share(session.sequence, each.sequence)
            each.tokens, each.logits, each.known = list(session.tokens), None, {}
        return others

    def extend_together(self, sessions: Sequence[Session], tokens: Sequence[int]) -> None:
        """Evaluates one token at the end of each sequence; all their logits can then be read. Raises Cancelled."""
        places = [(token, len(each.tokens), each.sequence) for each, token in zip(sessions, tokens, strict=True)]
        try:
            self._model.evaluate_together(places)
        except Cancelled:
            for each in sessions:
                self.keep(each, min(self._model.held(each.sequence), len(each.tokens)))
            raise
        for each, token in zip(sessions, tokens, strict=True):
            each.tokens.append(token)

    def release(self) -> None:
        """No session is pinned any more."""
        for session in self._sessions:
            session.pinned = False

    def _nearest(self, prompt: Sequence[int]) -> Session:
        free = [session for session in self._sessions if not session.pinned]
        return max(reversed(free), key=lambda session: common_prefix(session.tokens, prompt))


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with alike."""
    shorter = min(len(left), len(right))
    place = 0
    while place < shorter and [*left[place : place + BLOCK]] == [*right[place : place + BLOCK]]:
        place += BLOCK
    pairs = zip(left[place : place + BLOCK], right[place : place + BLOCK], strict=False)
    return min(shorter, place + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
