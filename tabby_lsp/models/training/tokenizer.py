"""The tokenizer: an 8k byte-level BPE with Qwen2's pre-tokenizer, and the control tokens beside it.

Control tokens are ids after the vocabulary which no text can encode to, so that source code that spells one
stays plain text. Knows nothing of layouts; `samples.py` places the control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VOCABULARY = 8192
# llama.cpp's `tokenizer.ggml.pre = "qwen2"` splits by this very pattern; it does not normalise, nor do we.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROLS = (
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|im_start|>",
    "<|im_end|>",
)
FIRST_CONTROL = VOCABULARY - len(CONTROLS)
END, FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD, REPO_NAME, FILE_SEP, IM_START, IM_END = range(
    FIRST_CONTROL, VOCABULARY
)


class Tokenizer:
    """Text to ids and back, for plain text only."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Bpe

        self._bpe: Any = Bpe.from_file(str(path))
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        self.merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        self.tokens = [*sorted(model["vocab"], key=model["vocab"].__getitem__), *CONTROLS]
        if len(self.tokens) != VOCABULARY:
            raise ValueError(f"{path.name}: {len(self.tokens)} tokens, expected {VOCABULARY}")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        text: str = self._bpe.decode([token for token in ids if token < FIRST_CONTROL])
        return text


def train_tokenizer(texts: Iterable[str], path: Path) -> Tokenizer:
    from tokenizers import models, pre_tokenizers, trainers

    bpe = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=FIRST_CONTROL,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    bpe.save(str(path))
    return Tokenizer(path)


def write_tokenizer(tokens: list[str], merges: list[str], path: Path) -> None:
    """The tokenizer of a GGUF file: its plain tokens in order and its merges, each two tokens with a blank."""
    from tokenizers import models

    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    _byte_level(models.BPE({token: id for id, token in enumerate(tokens)}, pairs)).save(str(path))


def _byte_level(model: Any) -> Any:
    from tokenizers import Regex, decoders, pre_tokenizers
    from tokenizers import Tokenizer as Bpe

    bpe: Any = Bpe(model)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    return bpe
