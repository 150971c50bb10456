"""Writing tokens: which one comes next, and its text. One class ties a model to the pipeline's `Writer`."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled, Token
from tabby_lsp.data import Sampling
from tabby_lsp.engine.draft import LONGEST_DRAFT, Speculation, look_up
from tabby_lsp.engine.model import Cancelled, Model
from tabby_lsp.engine.session import Session, Sessions
from tabby_lsp.engine.vocab import Vocab

# With a temperature, tokens beyond the likeliest 40 and beyond 95 % of the probability are left out: the
# values llama.cpp samples with by default.
TOP_K = 40
TOP_P = 0.95

HEADS_TRIED = 64  # tokens among which several first ones are sought


class ModelWriter:
    """Reads prompts and writes tokens with one model.

    `speculates`: whether drafts are tried. `patient`: whether nobody waits for what is done now, so
    that it goes in steps of which little is lost when it is stopped.
    """

    def __init__(self, model: Model, speculates: bool = True) -> None:
        self.model = model
        self.speculates, self.patient = speculates, False
        self.sessions = Sessions(model)
        self._session: Session | None = None
        self._speculation = Speculation()
        self.sessions.measured = self._speculation.measured
        self._controls = frozenset(model.vocab.controls().values())

    @property
    def vocabulary(self) -> Vocab:
        return self.model.vocab

    def unread(self, prompt: Sequence[int]) -> int:
        return self.sessions.unread(prompt)

    def prefill(self, prompt: Sequence[int], pinned: bool = False) -> Prefilled:
        """Who may be interrupted has the session `pinned`: it is kept for it until `sessions.release`."""
        self._session, prefilled = self.sessions.prefill(prompt, self.patient, pinned)
        return prefilled

    def read_ahead(self, prompts: Sequence[Sequence[int]]) -> None:
        """Reads prompts that nobody has asked to go on from yet, all but the first, each to take the place of the one
        before it. Raises Cancelled; what was read until then is kept.
        """
        for smaller, larger in itertools.pairwise(prompts):
            if self.sessions.unread(larger):
                self.sessions.prefill(larger, patient=True)
            self.sessions.give_up(smaller, larger)

    def decode(self, sampling: Sampling, pending: bytes = b"") -> Iterator[Token]:
        """Tokens after the prompt last read. A token is evaluated only when the one after it is asked for.

        `pending` is the end of the text before the cursor that the prompt leaves out (see `completion.prompt`):
        the first tokens repeat it, whatever else the model would rather write, and their texts begin behind it.
        """
        session = self._session
        assert session is not None and session.logits is not None, "prefill comes first"
        random = np.random.default_rng(sampling.seed)
        text = codecs.getincrementaldecoder("utf-8")("replace")
        logits: npt.NDArray[np.float32] = session.logits
        drafted: tuple[int, ...] = ()  # behind the last token, already evaluated
        for count in range(1, sampling.max_tokens + 1):
            allowed = self.model.vocab.agreeing(pending) if pending else None
            token, probability = choose(logits, sampling.temperature, random, allowed)
            piece = self.model.vocab.piece(token)
            repeated = min(len(piece), len(pending))
            pending = pending[repeated:]
            yield Token(token, text.decode(piece[repeated:]), probability)
            if count == sampling.max_tokens:
                return
            if self.model.flag.aborted:  # what is drafted is not computed any more: nothing else would notice
                if not self.sessions.yielded():
                    raise Cancelled
                self.sessions.keep(session, len(session.tokens) - len(drafted))
                drafted = ()  # its logits may be gone
            if drafted and drafted[0] == token:
                logits = self.model.logits(len(drafted))
                drafted = drafted[1:]
                continue
            self.sessions.keep(session, len(session.tokens) - len(drafted))
            room = min(self.model.context_size - len(session.tokens), sampling.max_tokens - count)
            if room < 1:
                return
            drafted = self._draft(session, token, room - 1) if sampling.temperature <= 0 and not pending else ()
            self.sessions.extend(session, [token, *drafted], len(drafted) + 1)
            logits = self.model.logits(len(drafted) + 1)

    def decode_together(self, sampling: Sampling, pending: bytes, wanted: Set[int]) -> Iterator[tuple[int, Token]]:
        """Several texts after the prompt last read, a token of each at a time and all of them in one batch, each with
        its number. They differ in what they write first behind `pending`; number 0 is the one that `decode` would give.

        `wanted` are the numbers to begin with; those that are no longer in it are not gone on with.
        """
        session = self._session
        assert session is not None and session.logits is not None, "prefill comes first"
        vocab, random = self.model.vocab, np.random.default_rng(sampling.seed)
        logits, left = session.logits, sampling.max_tokens
        while pending:  # as long as what is likeliest only repeats
            token, probability = choose(logits, sampling.temperature, random, vocab.agreeing(pending))
            piece = vocab.piece(token)
            if len(piece) > len(pending) or left <= 1:
                break
            yield 0, Token(token, "", probability)
            self.sessions.extend(session, [token])
            pending, logits, left = pending[len(piece) :], self.model.logits().copy(), left - 1
        allowed = vocab.agreeing(pending) if pending else None
        sessions = [session, *self.sessions.branch(session, len(wanted) - 1)]
        heads = self._heads(logits, len(sessions), sampling.temperature, random, allowed, len(pending))
        room = self.model.context_size - len(session.tokens)
        texts = [
            _Branch(number, each, token, probability, pending)
            for number, (each, (token, probability)) in enumerate(zip(sessions, heads, strict=False))
        ]
        for count in range(min(left, room), 0, -1):
            for text in texts:
                yield text.number, text.written(vocab.piece(text.token))
            texts = [text for text in texts if text.number in wanted]
            if not texts or count == 1:
                return
            self.sessions.extend_together([text.session for text in texts], [text.token for text in texts])
            for back, text in zip(range(len(texts), 0, -1), texts, strict=True):
                allowed = vocab.agreeing(text.pending) if text.pending else None
                text.token, text.probability = choose(self.model.logits(back), sampling.temperature, random, allowed)

    def _heads(
        self,
        logits: npt.NDArray[np.float32],
        count: int,
        temperature: float,
        random: np.random.Generator,
        allowed: npt.NDArray[np.int64] | None,
        repeated: int,
    ) -> list[tuple[int, float]]:
        """First tokens that write different texts behind the bytes they repeat, and their probabilities.

        The first of them is as `choose` takes it; the others are the likeliest that end nothing.
        """
        vocab = self.model.vocab
        heads = [choose(logits, temperature, random, allowed)]
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

    def _draft(self, session: Session, token: int, most: int) -> tuple[int, ...]:
        """What is worth evaluating with the next token in the hope that it comes next."""
        self._speculation.learn(session.tokens, token)
        if not self.speculates or not self.model.rolls_back:  # what does not come true has to be dropped
            return ()
        draft = look_up([*session.tokens, token], LONGEST_DRAFT, self._controls)
        self._speculation.expect(draft, len(session.tokens))
        if draft is None:
            return ()
        longest = self._speculation.length(draft.matched, 1000 / self.model.prefill_rate)
        return draft.tokens[: min(longest, most)]


@dataclass(slots=True)
class _Branch:
    """One of several texts: its next token, and what of the text before the cursor is still to be repeated."""

    number: int
    session: Session
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
    temperature: float,
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
        token = int(allowed[int(np.argmax(among)) if temperature <= 0 else _sample(among, temperature, random)])
    else:
        token = best if temperature <= 0 else _sample(logits, temperature, random)
    return token, float(weights[token]) / total


def _sample(logits: npt.NDArray[np.float32], temperature: float, random: np.random.Generator) -> int:
    count = min(TOP_K, len(logits))
    likeliest = np.argpartition(logits, -count)[-count:]
    likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
    scaled = logits[likeliest].astype(np.float64) / temperature
    chances = np.exp(scaled - scaled[0])
    chances /= chances.sum()
    kept = int(np.searchsorted(np.cumsum(chances), TOP_P)) + 1
    chances = chances[:kept] / chances[:kept].sum()
    return int(likeliest[random.choice(len(chances), p=chances)])
