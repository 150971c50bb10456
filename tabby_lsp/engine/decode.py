"""Writing tokens: which one comes next, and its text. One class ties a model to the pipeline's `Writer`."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tabby_lsp.completion.pipeline import Prefilled, Token
from tabby_lsp.data import Sampling
from tabby_lsp.engine.model import Model
from tabby_lsp.engine.session import Session, Sessions
from tabby_lsp.engine.vocab import Vocab

# With a temperature, tokens beyond the likeliest 40 and beyond 95 % of the probability are left out: the
# values llama.cpp samples with by default.
TOP_K = 40
TOP_P = 0.95


class ModelWriter:
    """Reads prompts and writes tokens with one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._sessions = Sessions(model)
        self._session: Session | None = None

    @property
    def vocabulary(self) -> Vocab:
        return self.model.vocab

    def prefill(self, document: str, prompt: Sequence[int]) -> Prefilled:
        self._session, prefilled = self._sessions.prefill(document, prompt)
        return prefilled

    def decode(self, sampling: Sampling) -> Iterator[Token]:
        """Tokens after the prompt last read. A token is evaluated only when the one after it is asked for."""
        session = self._session
        assert session is not None, "prefill comes first"
        random = np.random.default_rng(sampling.seed)
        text = codecs.getincrementaldecoder("utf-8")("replace")
        for count in range(sampling.max_tokens):
            token, probability = choose(self.model.logits(), sampling.temperature, random)
            yield Token(token, text.decode(self.model.vocab.piece(token)), probability)
            if count + 1 == sampling.max_tokens or len(session.tokens) >= self.model.context_size:
                return
            self._sessions.extend(session, [token])


def choose(logits: npt.NDArray[np.float32], temperature: float, random: np.random.Generator) -> tuple[int, float]:
    """The next token and its probability under the model (not under the narrowed choice)."""
    best = int(np.argmax(logits))
    weights = np.exp(logits - logits[best])
    total = float(weights.sum())
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
