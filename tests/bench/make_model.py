"""Writes a GGUF of a public model's shape with random weights, to measure the cost of a size without its download.

    python tests/bench/make_model.py qwen2.5-coder-0.5b OUT.gguf

What such a model says means nothing; how long it takes is what the real one takes. The vocabulary is the starter's,
filled up with unused tokens to the shape's size.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tabby_lsp.models import starter


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a model's config.json."""

    layers: int
    width: int
    heads: int
    heads_kv: int
    feed_forward: int
    vocabulary: int


SHAPES = {
    "qwen2.5-coder-0.5b": Shape(24, 896, 14, 2, 4864, 151_936),
    "qwen2.5-coder-1.5b": Shape(28, 1536, 12, 2, 8960, 151_936),
}


def q8_0(rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """A matrix in Q8_0, its values around 1/sqrt(columns): blocks of a half float scale and 32 signed bytes."""
    blocks = rows * columns // 32
    data = np.empty((blocks, 34), dtype=np.uint8)
    scale = np.float16(1.0 / (np.sqrt(columns) * 74))
    data[:, :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    data[:, 2:] = random.integers(-127, 128, size=(blocks, 32), dtype=np.int8).view(np.uint8)
    return data.reshape(rows, columns // 32 * 34)


def write(shape: Shape, path: Path) -> None:
    random = np.random.default_rng(0)
    source = gguf.GGUFReader(starter.MODEL)

    def strings(key: str) -> list[str]:
        field = source.fields[key]
        return [bytes(field.parts[index]).decode("utf-8") for index in field.data]

    types = source.fields["tokenizer.ggml.token_type"]
    tokens = strings("tokenizer.ggml.tokens")
    kinds = [int(types.parts[index][0]) for index in types.data]
    missing = shape.vocabulary - len(tokens)
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name(f"random {path.stem}")
    writer.add_context_length(32_768)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, *(f"[unused {i}]" for i in range(missing))])
    writer.add_token_types([*kinds, *[int(gguf.TokenType.UNUSED)] * missing])
    writer.add_token_merges(strings("tokenizer.ggml.merges"))
    writer.add_add_bos_token(False)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, q8_0(rows, columns, random), raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def vector(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, dtype=np.float32))

    key_width = shape.width // shape.heads * shape.heads_kv
    matrix("token_embd.weight", shape.vocabulary, shape.width)
    vector("output_norm.weight", shape.width, 1.0)
    for i in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            vector(f"blk.{i}.{name}.weight", shape.width, 1.0)
        for name, rows in (("attn_q", shape.width), ("attn_k", key_width), ("attn_v", key_width)):
            matrix(f"blk.{i}.{name}.weight", rows, shape.width)
            vector(f"blk.{i}.{name}.bias", rows, 0.0)
        matrix(f"blk.{i}.attn_output.weight", shape.width, shape.width)
        matrix(f"blk.{i}.ffn_gate.weight", shape.feed_forward, shape.width)
        matrix(f"blk.{i}.ffn_up.weight", shape.feed_forward, shape.width)
        matrix(f"blk.{i}.ffn_down.weight", shape.width, shape.feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    write(SHAPES[options.shape], options.path)
    print(f"{options.path}: {options.path.stat().st_size / 1e6:.0f} MB")
