"""How fast this machine computes models, measured in some seconds and without one: on seven layers of random weights.

What a model costs is known from its size. Reading a prompt is bound by computing, so by weights times tokens; writing
an answer by memory, so by the bytes of the file that each token walks through. Both are measured here for the two kinds
of weights in which models are commonly kept. Beside the weights each layer costs something of its own, which tells in
small models: the layers here are about those of a model of half a thousand million weights.

`main` prints {kind: [weights a second, bytes a second]} as JSON. It runs in a process of its own: a llama.cpp that was
built for another processor dies of an illegal instruction.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp

from tabby_lsp.engine.threads import thread_counts
from tabby_lsp.processes import cores

WIDTH, FEED_FORWARD, HEADS, HEADS_KV, LAYERS = 1024, 4864, 16, 2, 7
VOCABULARY = 256
PROMPT, ANSWER, RUNS = 192, 12, 3  # tokens; the best of the runs counts: a machine is never faster than it is
BATCH = 64  # in which the engine reads on machines without a GPU, or in fewer: see engine/model.py
SECONDS = 4.0  # for each kind, after which no further run begins

# ggml's type, weights of a block, its scales, and how many bytes come behind them. Q8_0 is a scale and 32 numbers, Q4_K
# two scales, 12 bytes of smaller ones and 256 numbers of four bits (ggml-common.h).
_SCALE = struct.pack("<e", 2**-13)
KINDS = {"Q8_0": (8, 32, _SCALE, 32), "Q4_K": (12, 256, _SCALE * 2, 140)}


def main() -> int:
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = Path(folder) / f"{kind}.gguf"
            weights = write(path, kind)
            measured[kind] = _measure(path, weights)
            path.unlink()
    sys.stdout.write(json.dumps(measured))
    return 0


# --- the model


def _matrices() -> Iterator[tuple[str, int, int]]:
    """Names, columns and rows."""
    yield "token_embd.weight", WIDTH, VOCABULARY
    kv_width = WIDTH // HEADS * HEADS_KV
    for layer in range(LAYERS):
        for name, columns, rows in (
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, kv_width),
            ("attn_v", WIDTH, kv_width),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDTH, FEED_FORWARD),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ):
            yield f"blk.{layer}.{name}.weight", columns, rows


def _vectors() -> Iterator[str]:
    yield "output_norm.weight"
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight"
        yield f"blk.{layer}.ffn_norm.weight"


def write(path: Path, kind: str) -> int:
    """Writes the model and returns how many weights its matrices have."""
    number, block, scales, rest = KINDS[kind]
    noise = random.Random(0)
    tensors: list[tuple[str, tuple[int, ...], int, int]] = []
    for name, columns, rows in _matrices():
        tensors.append((name, (columns, rows), number, columns * rows // block * (len(scales) + rest)))
    tensors += [(name, (WIDTH,), 0, 4 * WIDTH) for name in _vectors()]
    keys: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.context_length": PROMPT + ANSWER,
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS_KV,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.vocab_size": VOCABULARY,
        "tokenizer.ggml.model": "no_vocab",
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_text(name) + _value(value) for name, value in keys.items())
    offset = 0
    for name, shape, kind_number, size in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind_number, offset)
        offset += size + -size % 32
    # The same noise again and again: what is computed does not depend on it.
    piece = b"".join(scales + noise.randbytes(rest) for _ in range(4096))
    ones = struct.pack("<f", 1.0) * WIDTH
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for _, shape, _, size in tensors:
            source = piece if len(shape) == 2 else ones
            whole, part = divmod(size, len(source))
            for _ in range(whole):
                file.write(source)
            file.write(source[:part] + bytes(-size % 32))
    return sum(shape[0] * shape[1] for _, shape, _, _ in tensors if len(shape) == 2)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _value(value: object) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value)


# --- its speed


def _measure(path: Path, weights: int) -> tuple[float, float]:
    """Weights times tokens a second of a prompt, bytes a second of an answer."""
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 9999 if llama_cpp.llama_supports_gpu_offload() else 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise SystemExit("llama.cpp cannot load the model that is measured with.")
    context_params = llama_cpp.llama_context_default_params()
    context_params.n_ctx = context_params.n_batch = context_params.n_ubatch = PROMPT + ANSWER
    context = llama_cpp.llama_init_from_model(model, context_params)
    if not context:
        raise SystemExit("llama.cpp has no memory for what is measured.")
    best = [0.0, 0.0]
    begin = time.perf_counter()
    _decode(context, BATCH)  # the first one reads the file
    # Where cores share a part of the processor, or somebody else has one, fewer threads are faster.
    for run, threads in enumerate(RUNS * thread_counts(cores.cores())[:3]):
        if run and time.perf_counter() - begin > SECONDS:
            break
        llama_cpp.llama_set_n_threads(context, threads, threads)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        best[0] = max(best[0], PROMPT / sum(_decode(context, BATCH) for _ in range(PROMPT // BATCH)))
        best[1] = max(best[1], 1 / min(_decode(context, 1) for _ in range(ANSWER)))
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return best[0] * weights, best[1] * path.stat().st_size


def _decode(context: Any, count: int) -> float:
    """Seconds for so many tokens at once."""
    tokens = (llama_cpp.llama_token * count)(*([1] * count))
    begin = time.perf_counter()
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count)):
        raise SystemExit("llama.cpp fails at what is measured.")
    llama_cpp.llama_synchronize(context)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
