"""Writing tokens: which one comes next, and its text. One class ties a model to the pipeline's `Writer`."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled, Token
from tabby_lsp.data import Sampling
from tabby_lsp.engine.draft import LONGEST_DRAFT, Draft, Speculation, look_up
from tabby_lsp.engine.model import Model
from tabby_lsp.engine.slots import Slot, Slots
from tabby_lsp.engine.vocab import Vocab
from tabby_lsp.steps import Steps

TOP_K = 40  # with a temperature, tokens beyond the likeliest are left out: llama.cpp's default

HEADS_TRIED = 64  # tokens among which several first ones are sought


class ModelWriter:
    """Reads prompts and writes tokens for one job. To be closed with the job: its slots are then free for others.

    `speculates`: whether drafts are tried. `patient`: whether nobody waits for what is done now, so that it goes in
    steps of which little is lost when one is stopped.
    """

    def __init__(
        self,
        model: Model,
        slots: Slots,
        speculation: Speculation,
        speculates: bool = True,
        patient: bool = False,
    ) -> None:
        self._model, self._slots, self._speculation = model, slots, speculation
        self._speculates, self._patient = speculates, patient
        self._prompt: Sequence[int] = ()
        self._slot: Slot | None = None
        self._expected: tuple[Draft, int] | None = None  # a draft, and the place in its slot that it is for
        self._controls = frozenset(model.vocab.controls().values())

    def close(self) -> None:
        self._slots.release(self)

    @property
    def vocabulary(self) -> Vocab:
        return self._model.vocab

    def unread(self, prompt: Sequence[int]) -> int:
        return self._slots.unread(prompt, self)

    def prefill(self, prompt: Sequence[int]) -> Steps[Prefilled]:
        self._prompt = prompt
        self._slot, prefilled = yield from self._slots.prefill(prompt, self, self._patient)
        return prefilled

    def decode(self, sampling: Sampling, pending: bytes = b"") -> Iterator[Token | None]:
        """Tokens after the prompt last read, and None between two steps. A token is evaluated only when the one after
        it is asked for.

        `pending` is the end of the text before the cursor that the prompt leaves out (see `completion.prompt`):
        the first tokens repeat it, whatever else the model would rather write, and their texts begin behind it.
        """
        slot, model = self._slot, self._model
        assert slot is not None and slot.logits is not None, "prefill comes first"
        random = np.random.default_rng(sampling.seed)
        text = codecs.getincrementaldecoder("utf-8")("replace")
        logits: npt.NDArray[np.float32] = slot.logits
        written: list[int] = []
        drafted: tuple[int, ...] = ()  # behind the last token, already evaluated
        for count in range(1, sampling.max_tokens + 1):
            allowed = model.vocab.agreeing(pending) if pending else None
            token, probability = choose(logits, sampling, random, allowed)
            piece = model.vocab.piece(token)
            repeated = min(len(piece), len(pending))
            pending = pending[repeated:]
            written.append(token)
            yield Token(token, text.decode(piece[repeated:]), probability)
            if count == sampling.max_tokens:
                return
            if drafted and drafted[0] == token:
                logits = model.logits(len(drafted))
                drafted = drafted[1:]
                continue
            self._slots.keep(slot, len(slot.tokens) - len(drafted))
            room = min(model.context_size - len(slot.tokens), sampling.max_tokens - count)
            if room < 1:
                return
            drafted = self._draft(slot, token, room - 1) if sampling.temperature <= 0 and not pending else ()
            if (yield from self._slots.extend(slot, [token, *drafted], self, len(drafted) + 1)):
                logits = model.logits(len(drafted) + 1)
            else:  # another job has taken the slot
                drafted = ()
                slot, _ = yield from self._slots.prefill([*self._prompt, *written], self, self._patient)
                assert slot.logits is not None
                self._slot, logits = slot, slot.logits

    def decode_together(
        self, sampling: Sampling, pending: bytes, wanted: Set[int]
    ) -> Iterator[tuple[int, Token] | None]:
        """Several texts after the prompt last read, a token of each at a time and all of them in one batch, each with
        its number; None between two steps. They differ in what they write first behind `pending`; number 0 is the one
        that `decode` would give.

        `wanted` are the numbers to begin with; those that are no longer in it are not gone on with.
        """
        slot = self._slot
        assert slot is not None and slot.logits is not None, "prefill comes first"
        vocab, random = self._model.vocab, np.random.default_rng(sampling.seed)
        logits, left = slot.logits, sampling.max_tokens
        while pending:  # as long as what is likeliest only repeats
            token, probability = choose(logits, sampling, random, vocab.agreeing(pending))
            piece = vocab.piece(token)
            if len(piece) > len(pending) or left <= 1:
                break
            yield 0, Token(token, "", probability)
            if not (yield from self._slots.extend(slot, [token], self)):
                return
            pending, logits, left = pending[len(piece) :], self._model.logits().copy(), left - 1
        allowed = vocab.agreeing(pending) if pending else None
        slots = [slot, *self._slots.branch(slot, len(wanted) - 1, self)]
        heads = self._heads(logits, len(slots), sampling, random, allowed, len(pending))
        room = self._model.context_size - len(slot.tokens)
        texts = [
            _Branch(number, each, token, probability, pending)
            for number, (each, (token, probability)) in enumerate(zip(slots, heads, strict=False))
        ]
        for count in range(min(left, room), 0, -1):
            for text in texts:
                yield text.number, text.written(vocab.piece(text.token))
            texts = [text for text in texts if text.number in wanted]
            if not texts or count == 1:
                return
            slots, tokens = [text.slot for text in texts], [text.token for text in texts]
            if not (yield from self._slots.extend_together(slots, tokens, self)):
                return
            for back, text in zip(range(len(texts), 0, -1), texts, strict=True):
                allowed = vocab.agreeing(text.pending) if text.pending else None
                text.token, text.probability = choose(self._model.logits(back), sampling, random, allowed)

    def _heads(
        self,
        logits: npt.NDArray[np.float32],
        count: int,
        sampling: Sampling,
        random: np.random.Generator,
        allowed: npt.NDArray[np.int64] | None,
        repeated: int,
    ) -> list[tuple[int, float]]:
        """First tokens that write different texts behind the bytes they repeat, and their probabilities.

        The first of them is as `choose` takes it; the others are the likeliest that end nothing.
        """
        vocab = self._model.vocab
        heads = [choose(logits, sampling, random, allowed)]
        texts = {vocab.piece(heads[0][0])[repeated:]}
        among = logits if allowed is None else logits[allowed]
        count_tried = min(len(among), HEADS_TRIED)
        likeliest = np.argpartition(among, -count_tried)[-count_tried:]
        weights = np.exp(logits - logits.max())
        for place in likeliest[np.argsort(-among[likeliest], kind="stable")].tolist():
            token = place if allowed is None else int(allowed[place])
            text = vocab.piece(token)[repeated:]
            if len(heads) < count and text not in texts and not (token in self._controls or vocab.is_end(token)):
                texts.add(text)
                heads.append((token, float(weights[token] / weights.sum())))
        return heads

    def _draft(self, slot: Slot, token: int, most: int) -> tuple[int, ...]:
        """What is worth evaluating with the next token in the hope that it comes next."""
        if self._expected is not None:
            draft, place = self._expected
            self._speculation.learn(draft, [*slot.tokens[place:], token])
            self._expected = None
        if not self._speculates or not self._model.rolls_back:  # what does not come true has to be dropped
            return ()
        found = look_up([*slot.tokens, token], LONGEST_DRAFT, self._controls)
        if found is None:
            return ()
        self._expected = found, len(slot.tokens) + 1
        longest = self._speculation.length(found.matched, 1000 / self._model.prefill_rate)
        return found.tokens[: min(longest, most)]


@dataclass(slots=True)
class _Branch:
    """One of several texts: its next token, and what of the text before the cursor is still to be repeated."""

    number: int
    slot: Slot
    token: int
    probability: float
    pending: bytes
    text: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    def written(self, piece: bytes) -> Token:
        """The next token, whose bytes are given."""
        repeated = min(len(piece), len(self.pending))
        self.pending = self.pending[repeated:]
        return Token(self.token, self.text.decode(piece[repeated:]), self.probability)


def choose(
    logits: npt.NDArray[np.float32],
    sampling: Sampling,
    random: np.random.Generator,
    allowed: npt.NDArray[np.int64] | None = None,
) -> tuple[int, float]:
    """The next token and its probability under the model (not under the narrowed choice).

    Of the `allowed` tokens, if given: their ids, at least one.
    """
    best = int(np.argmax(logits))
    weights = np.exp(logits - logits[best])
    total = float(weights.sum())
    if allowed is not None:
        among = logits[allowed]
        token = int(allowed[int(np.argmax(among)) if sampling.temperature <= 0 else _sample(among, sampling, random)])
    else:
        token = best if sampling.temperature <= 0 else _sample(logits, sampling, random)
    return token, float(weights[token]) / total


def _sample(logits: npt.NDArray[np.float32], sampling: Sampling, random: np.random.Generator) -> int:
    count = min(TOP_K, len(logits))
    likeliest = np.argpartition(logits, -count)[-count:]
    likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
    scaled = logits[likeliest].astype(np.float64) / sampling.temperature
    chances = np.exp(scaled - scaled[0])
    chances /= chances.sum()
    kept = int(np.searchsorted(np.cumsum(chances), sampling.top_p)) + 1
    chances = chances[:kept] / chances[:kept].sum()
    return int(likeliest[random.choice(len(chances), p=chances)])
