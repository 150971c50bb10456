"""What the KV cache holds: one sequence per document, the least recently used one taken for a new document.

A prompt is read from where it first differs from what its document's sequence holds. Knows no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled
from tabby_lsp.engine.model import Cancelled, Model


@dataclass(slots=True)
class Session:
    """A sequence of the KV cache and the tokens it holds, which are known to the last one at all times.

    The logits after the prompt last read are kept: while one types within a word the prompt stays the same (see
    `completion.prompt`), and nothing needs to be computed to write again.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    prompt: tuple[int, ...] = ()
    logits: npt.NDArray[np.float32] | None = None


class Sessions:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._by_document: dict[str, Session] = {}  # least recently used first

    def of(self, document: str) -> Session:
        session = self._by_document.pop(document, None)
        if session is None and len(self._by_document) < self._model.parallelism:
            session = Session(sequence=len(self._by_document))
        if session is None:
            oldest = next(iter(self._by_document))
            session = self._by_document.pop(oldest)
        self._by_document[document] = session
        return session

    def prefill(self, document: str, prompt: Sequence[int]) -> tuple[Session, Prefilled]:
        """Reads a prompt into its document's sequence; the last token's logits can then be read.

        Raises Cancelled; what was read until then is kept for the next prompt.
        """
        session = self.of(document)
        shared = common_prefix(session.tokens, prompt)
        if shared == len(prompt) and session.prompt == tuple(prompt):
            self.keep(session, shared)
            if len(session.tokens) == shared:
                return session, Prefilled(0, shared)
        # The last token is evaluated even if the cache holds it: its logits are what decoding begins with.
        self.keep(session, min(shared, len(prompt) - 1))
        reused = len(session.tokens)
        while len(session.tokens) < len(prompt):
            place = len(session.tokens)
            self.extend(session, prompt[place : place + self._model.batch_size])
        session.prompt, session.logits = tuple(prompt), self._model.logits().copy()
        return session, Prefilled(len(prompt) - reused, reused)

    def extend(self, session: Session, tokens: Sequence[int], outputs: int = 1) -> float:
        """Evaluates more tokens at the end of a sequence, in milliseconds. The logits of the last `outputs` of them
        can then be read. Raises Cancelled, the session then being in order.
        """
        try:
            milliseconds = self._model.evaluate(tokens, len(session.tokens), session.sequence, outputs)
        except Cancelled:
            # Parts of the batch may have been done before the flag was seen: ask the cache, then say it again.
            held = min(self._model.held(session.sequence), len(session.tokens))
            self.keep(session, held)
            raise
        session.tokens.extend(tokens)
        return milliseconds

    def keep(self, session: Session, length: int) -> None:
        """Drops what the sequence holds behind `length` tokens; all of it where the memory cannot do that."""
        if length == len(session.tokens) == self._model.held(session.sequence):
            return
        kept = self._model.truncate(session.sequence, length)
        del session.tokens[length if kept else 0 :]


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with alike."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))
