"""Export: trained weights to GGUF files, F16 and quantised, and the proof that llama.cpp computes the same.

Owns the file's keys, reading such a file back to train on from it, and the comparison of logits; a difference
beyond rounding raises and ships nothing.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tabby_lsp.models.training import tokenizer as ids
from tabby_lsp.models.training.model import EPSILON, Config, Weights, logits
from tabby_lsp.models.training.tokenizer import CONTROLS, FIRST_CONTROL, Tokenizer, write_tokenizer

NAME = "tabby-starter"
LICENCE = "apache-2.0"
HISTORY = f"{NAME}.history"  # our own key: the sittings that led to these weights, as JSON
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MOST_BYTES = 40_000_000  # of a shipped file
# Best first; the first that is small enough is shipped. The K-quants need rows of a multiple of 256.
QUANTISATIONS = {"q8_0": "MOSTLY_Q8_0", "q6_k": "MOSTLY_Q6_K", "q5_k_m": "MOSTLY_Q5_K_M", "q4_k_m": "MOSTLY_Q4_K_M"}
# How far llama.cpp may be from the trainer on the fixed text below: largest and mean difference of a logit.
TOLERANCES = {"f16": (0.05, 0.005), "q8_0": (1.0, 0.1), "q6_k": (2.5, 0.25), "q5_k_m": (4.0, 0.5), "q4_k_m": (6.0, 1.0)}
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


def write_gguf(
    weights: Weights, config: Config, tokenizer: Tokenizer, path: Path, history: list[dict[str, Any]] | None = None
) -> None:
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
    out.add_eot_token_id(ids.IM_END)
    out.add_pad_token_id(ids.FIM_PAD)
    out.add_chat_template(CHAT_TEMPLATE)
    out.add_string(HISTORY, json.dumps(history or []))
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


def read_gguf(path: Path, tokenizer: Path) -> tuple[Weights, Config, list[dict[str, Any]]]:
    """A shipped model back as weights in fp32, its history, and its tokenizer written to `tokenizer`."""
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError) as error:
        raise ExportError(f"{path.name} is no GGUF file, or not a whole one ({error})") from None

    def value(key: str, default: Any = None) -> Any:
        field = reader.get_field(key)
        if field is None and default is None:
            raise ExportError(f"{path.name} has no {key}: it is no model of this trainer")
        return default if field is None else field.contents()

    config = Config(
        layers=value("qwen2.block_count"),
        width=value("qwen2.embedding_length"),
        heads=value("qwen2.attention.head_count"),
        kv_heads=value("qwen2.attention.head_count_kv"),
        hidden=value("qwen2.feed_forward_length"),
        vocabulary=len(value("tokenizer.ggml.tokens")),
        context=value("qwen2.context_length"),
        rope_base=value("qwen2.rope.freq_base"),
    )
    weights = {tensor.name: torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type)) for tensor in reader.tensors}
    shapes = config.shapes()
    if {name: tuple(weight.shape) for name, weight in weights.items()} != shapes:
        raise ExportError(f"{path.name} holds other tensors than this trainer's model")
    write_tokenizer(value("tokenizer.ggml.tokens")[:FIRST_CONTROL], value("tokenizer.ggml.merges"), tokenizer)
    return {name: weights[name] for name in shapes}, config, json.loads(value(HISTORY, "[]"))


def quantise(source: Path, target: Path, kind: str) -> None:
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{QUANTISATIONS[kind]}")
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


def shipped_file(work: Path) -> Path:
    """The file that `export` left to be shipped."""
    return next(work / f"{NAME}-{kind}.gguf" for kind in QUANTISATIONS if (work / f"{NAME}-{kind}.gguf").exists())


def export(
    weights: Weights, config: Config, tokenizer: Tokenizer, work: Path, history: list[dict[str, Any]]
) -> list[Comparison]:
    """Writes the F16 file and the best quantised one of at most `MOST_BYTES`, and compares both."""
    f16 = work / f"{NAME}-f16.gguf"
    for kind in QUANTISATIONS:
        (work / f"{NAME}-{kind}.gguf").unlink(missing_ok=True)
    write_gguf(weights, config, tokenizer, f16, history)
    for kind in QUANTISATIONS:
        quantised = work / f"{NAME}-{kind}.gguf"
        quantise(f16, quantised, kind)
        if quantised.stat().st_size <= MOST_BYTES:
            break
        quantised.unlink()
    else:
        raise ExportError(f"no quantisation of this model fits {MOST_BYTES:,} bytes")
    return [compare(kind, path, weights, config, tokenizer) for kind, path in (("f16", f16), (kind, quantised))]
