"""Export: trained weights to a GGUF file in F16 and Q8_0, and the proof that llama.cpp computes the same.

Owns the file's keys and the comparison of logits; a difference beyond rounding raises and ships nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tabby_lsp.models.training import tokenizer as ids
from tabby_lsp.models.training.model import EPSILON, Config, Weights, logits
from tabby_lsp.models.training.tokenizer import CONTROLS, FIRST_CONTROL, Tokenizer

NAME = "tabby-starter"
LICENCE = "apache-2.0"
# How far llama.cpp may be from the trainer on the fixed text below: largest and mean difference of a logit.
TOLERANCES = {"f16": (0.05, 0.005), "q8_0": (1.0, 0.1)}
FIXED_TEXT = '''import json
from pathlib import Path


def read_settings(path: Path) -> dict[str, str]:
    """Read the settings file; a missing one is empty."""
    if not path.exists():
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value
'''


class ExportError(Exception):
    """The exported model does not compute what the trained one does."""


@dataclass(frozen=True)
class Comparison:
    kind: str
    largest: float
    mean: float
    same_best: float  # share of places where both would choose the same next token


def write_gguf(weights: Weights, config: Config, tokenizer: Tokenizer, path: Path) -> None:
    import gguf

    out = gguf.GGUFWriter(str(path), "qwen2")
    out.add_name(NAME)
    out.add_string("general.basename", NAME)
    out.add_string("general.license", LICENCE)
    out.add_size_label(f"{sum(w.numel() for w in weights.values()) / 1e6:.1f}M")
    out.add_context_length(config.context)
    out.add_embedding_length(config.width)
    out.add_block_count(config.layers)
    out.add_feed_forward_length(config.hidden)
    out.add_head_count(config.heads)
    out.add_head_count_kv(config.kv_heads)
    out.add_rope_freq_base(config.rope_base)
    out.add_layer_norm_rms_eps(EPSILON)
    out.add_vocab_size(config.vocabulary)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokenizer.tokens)
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    out.add_token_types([normal] * FIRST_CONTROL + [control] * len(CONTROLS))
    out.add_token_merges(tokenizer.merges)
    out.add_eos_token_id(ids.END)
    out.add_pad_token_id(ids.FIM_PAD)
    out.add_add_bos_token(False)
    fim = {"pre": ids.FIM_PREFIX, "suf": ids.FIM_SUFFIX, "mid": ids.FIM_MIDDLE, "pad": ids.FIM_PAD}
    for key, token in {**fim, "rep": ids.REPO_NAME, "sep": ids.FILE_SEP}.items():
        out.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", token)
    for name, weight in weights.items():
        array = weight.detach().float().numpy()
        out.add_tensor(name, array.astype(np.float16) if array.ndim == 2 else array)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def quantise(source: Path, target: Path) -> None:
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    params.nthread = 2
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
        raise ExportError(f"llama.cpp could not quantise {source.name}")


def compare(kind: str, path: Path, weights: Weights, config: Config, tokenizer: Tokenizer) -> Comparison:
    """Every logit of a fixed prompt, control tokens included, in fp32 here and through llama.cpp."""
    import llama_cpp

    llm = llama_cpp.Llama(str(path), n_ctx=512, n_batch=512, n_threads=2, logits_all=True, verbose=False)
    half = len(FIXED_TEXT) // 2
    parts = FIXED_TEXT[half:], FIXED_TEXT[:half]
    for part in (*parts, *CONTROLS):
        if llm.tokenize(part.encode(), add_bos=False, special=False) != tokenizer.encode(part):
            raise ExportError(f"{path.name}: llama.cpp tokenises {part[:20]!r} otherwise than the trainer")
    suffix, prefix = map(tokenizer.encode, parts)
    prompt = [ids.FIM_SUFFIX, *suffix, ids.FIM_PREFIX, *prefix, ids.FIM_MIDDLE]
    llm.eval(prompt)
    theirs = np.array(llm.scores[: len(prompt)], dtype=np.float32)
    llm.close()
    with torch.no_grad():
        ours = logits(weights, config, torch.tensor([prompt]))[0].numpy()
    difference = np.abs(ours - theirs)
    same = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    found = Comparison(kind, float(difference.max()), float(difference.mean()), same)
    largest, mean = TOLERANCES[kind]
    if not (found.largest <= largest and found.mean <= mean):
        raise ExportError(f"{path.name} differs from the trained model beyond {largest} / {mean}: {found}")
    return found


def export(weights: Weights, config: Config, tokenizer: Tokenizer, work: Path) -> list[Comparison]:
    f16, q8_0 = work / f"{NAME}-f16.gguf", work / f"{NAME}-q8_0.gguf"
    write_gguf(weights, config, tokenizer, f16)
    quantise(f16, q8_0)
    return [compare(kind, path, weights, config, tokenizer) for kind, path in (("f16", f16), ("q8_0", q8_0))]
