"""Writing tokens: which one comes next, and its text. One class ties a model to the pipeline's `Writer`."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

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


class ModelWriter:
    """Reads prompts and writes tokens with one model.

    `speculates`: whether drafts are tried, by default yes. `patient`: whether nobody waits for what is done now, so
    that it goes in steps of which little is lost when it is stopped.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.speculates, self.patient = True, False
        self.sessions = Sessions(model)
        self._session: Session | None = None
        self._speculation = Speculation()
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

    def read_ahead(self, prompt: Sequence[int]) -> None:
        """Reads a prompt that nobody has asked to go on from yet. Raises Cancelled; the part read is kept."""
        self.sessions.prefill(prompt, patient=True)

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
            if self.model.aborted:  # what is drafted is not computed any more: nothing else would notice
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
            milliseconds = self.sessions.extend(session, [token, *drafted], len(drafted) + 1)
            self._speculation.measured(len(drafted) + 1, milliseconds)
            logits = self.model.logits(len(drafted) + 1)

    def _draft(self, session: Session, token: int, most: int) -> tuple[int, ...]:
        """What is worth evaluating with the next token in the hope that it comes next."""
        self._speculation.learn(session.tokens, token)
        if not self.speculates:
            return ()
        draft = look_up([*session.tokens, token], LONGEST_DRAFT, self._controls)
        self._speculation.expect(draft, len(session.tokens))
        if draft is None:
            return ()
        longest = self._speculation.length(draft.matched, 1000 / self.model.prefill_rate)
        return draft.tokens[: min(longest, most)]


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
