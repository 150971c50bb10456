"""One job alone at a model: all of its steps at once, and a set flag stops it for good, as a cancel does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import TypeVar

from tabby_lsp.completion.layout import Layout
from tabby_lsp.completion.pipeline import Budget, Earlier, Prefilled, Token, complete
from tabby_lsp.data import Completion, CompletionRequest, Sampling
from tabby_lsp.engine.decode import ModelWriter
from tabby_lsp.engine.draft import Speculation
from tabby_lsp.engine.model import Model
from tabby_lsp.engine.slots import Slot, Slots, common_prefix
from tabby_lsp.engine.vocab import Vocab
from tabby_lsp.steps import Steps

T = TypeVar("T")


class Stopped(Exception):
    """The flag was set."""


class Alone:
    """A `ModelWriter` whose steps are done at once, on an empty KV cache."""

    def __init__(self, model: Model) -> None:
        model.flag.clear()
        for sequence in range(model.sequences):
            model.truncate(sequence, 0)
        self.model = model
        self.slots = Slots(model)
        self.speculates, self.speculation = True, Speculation()
        self._writer = self._new()

    def _new(self) -> ModelWriter:
        self.slots.measured = self.speculation.measured
        return ModelWriter(self.model, self.slots, self.speculation, self.speculates)

    @property
    def vocabulary(self) -> Vocab:
        return self.model.vocab

    def unread(self, prompt: Sequence[int]) -> int:
        return self._writer.unread(prompt)

    def clear(self) -> None:
        """Leaves nothing in the KV cache."""
        for slot in self.slots._slots:
            self.slots.keep(slot, 0)

    def slot(self, prompt: Sequence[int]) -> Slot:
        """The slot that holds most of a prompt."""
        return max(self.slots._slots, key=lambda slot: common_prefix(slot.tokens, prompt))

    def prefill(self, prompt: Sequence[int]) -> Prefilled:
        self._writer.close()
        self._writer = self._new()
        return self.all_steps(self._writer.prefill(prompt))

    def read_ahead(self, prompt: Sequence[int]) -> None:
        self._writer.close()
        self.all_steps(self.slots.prefill(prompt, self, patient=True))
        self.slots.release(self)

    def decode(self, sampling: Sampling, pending: bytes = b"") -> Iterator[Token]:
        return self._without_turns(self._writer.decode(sampling, pending))

    def decode_together(self, sampling: Sampling, pending: bytes, wanted: Set[int]) -> Iterator[tuple[int, Token]]:
        return self._without_turns(self._writer.decode_together(sampling, pending, wanted))

    def extend(self, slot: Slot, token: int) -> None:
        self.all_steps(self.slots.extend(slot, [token], self._writer))

    def complete(
        self, layout: Layout, request: CompletionRequest, budget: Budget, earlier: Earlier | None = None
    ) -> Completion:
        self._writer.close()
        self._writer = self._new()
        return self.all_steps(complete(self._writer, layout, request, budget, earlier=earlier))

    def _without_turns(self, tokens: Iterator[T | None]) -> Iterator[T]:
        for token in tokens:
            if token is not None:
                yield token
            elif self.model.flag.aborted:
                raise Stopped

    def all_steps(self, steps: Steps[T]) -> T:
        while True:
            try:
                next(steps)
                if self.model.flag.aborted:
                    steps.close()
                    self.slots.release(self)
                    raise Stopped
            except StopIteration as end:
                value: T = end.value
                return value
