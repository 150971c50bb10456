"""Public models' shapes, and files of them with random weights. Owns how a GGUF is written here.

Random weights cost what the real ones cost. The tokenizer is the starter's, filled up to the shape's vocabulary
with unused tokens. The model writes only these, whose text is empty: no stop rule, filter or cache sees anything, so
every side of a comparison generates as many tokens as it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from tabby_lsp.models import starter

Bytes = npt.NDArray[np.uint8]
Q8_0 = gguf.GGMLQuantizationType.Q8_0
BLOCK = 32  # values of a block of Q8_0; behind its scale, a half float
BLOCK_BYTES = 34
QWEN2, LLAMA, GEMMA3, STARCODER, MAMBA = "qwen2", "llama", "gemma3", "starcoder", "mamba"


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a model's config.json."""

    layers: int
    width: int
    heads: int
    heads_kv: int
    feed_forward: int
    vocabulary: int
    context: int = 32_768
    architecture: str = QWEN2
    own_head_width: int = 0  # 0: the width, shared out among the heads

    @property
    def head_width(self) -> int:
        return self.own_head_width or self.width // self.heads

    @property
    def group(self) -> int:
        """Query heads of a kv head."""
        return self.heads // self.heads_kv


SHAPES = {
    "qwen2.5-coder-0.5b": Shape(24, 896, 14, 2, 4864, 151_936),
    "qwen2.5-coder-1.5b": Shape(28, 1536, 12, 2, 8960, 151_936),
    "starcoder-1b": Shape(24, 2048, 16, 1, 8192, 49_152, 8192, STARCODER),
    "deepseek-coder-1.3b": Shape(24, 2048, 16, 16, 5504, 32_256, 16_384, LLAMA),
    "gemma-3-270m": Shape(18, 640, 4, 1, 2048, 262_144, 32_768, GEMMA3, 256),
    "mamba-130m": Shape(24, 768, 0, 0, 0, 50_280, 2048, MAMBA),
}
# Of a recurrent model (arXiv 2312.00752): numbers of a channel's state, and tokens that a convolution sees.
STATE, KERNEL = 16, 4
GEMMA_WINDOW = 512

# StarCoder's control tokens in the place of the starter's: a family is recognised by them.
STARCODER_CONTROLS = {
    "<|fim_prefix|>": "<fim_prefix>",
    "<|fim_middle|>": "<fim_middle>",
    "<|fim_suffix|>": "<fim_suffix>",
    "<|fim_pad|>": "<fim_pad>",
    "<|repo_name|>": "<reponame>",
    "<|file_sep|>": "<filename>",
}


class ShapeError(Exception):
    """A shape that the starter cannot be padded to; the text says why."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One that is made when it is written: a large model need not be held in memory."""

    name: str
    rows: int  # 1: a vector of F32, else a matrix of Q8_0
    columns: int
    make: Callable[[], npt.NDArray[Any]]
    plain: bool = False  # a matrix of F32, too

    @property
    def is_vector(self) -> bool:
        return self.rows == 1


def write_file(writer: gguf.GGUFWriter, tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        if tensor.is_vector or tensor.plain:
            size = (tensor.columns,) if tensor.is_vector else (tensor.rows, tensor.columns)
            writer.add_tensor_info(tensor.name, size, np.dtype(np.float32), 4 * tensor.rows * tensor.columns)
        else:
            row = tensor.columns // BLOCK * BLOCK_BYTES
            writer.add_tensor_info(tensor.name, (tensor.rows, row), np.dtype(np.uint8), tensor.rows * row, Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.make())
    writer.close()


# --- the tokenizer


@dataclass(frozen=True, slots=True)
class Tokens:
    texts: list[str]
    types: list[int]
    merges: list[str]

    def filled(self, size: int) -> Tokens:
        """With unused tokens at the end."""
        missing = size - len(self.texts)
        if missing < 0:
            raise ShapeError(f"the vocabulary has {len(self.texts)} tokens, the shape {size}")
        unused = [f"[unused {i}]" for i in range(missing)]
        return Tokens([*self.texts, *unused], self.types + missing * [int(gguf.TokenType.UNUSED)], self.merges)


def read_tokens(source: gguf.GGUFReader) -> Tokens:
    keys = ("tokens", "token_type", "merges")
    return Tokens(*(source.fields[f"tokenizer.ggml.{key}"].contents() for key in keys))


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    if shape.heads_kv:
        writer.add_head_count_kv(shape.heads_kv)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_tokens(writer: gguf.GGUFWriter, tokens: Tokens) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens.texts)
    writer.add_token_types(tokens.types)
    writer.add_token_merges(tokens.merges)
    writer.add_add_bos_token(False)


# --- random weights


def random_matrix(rows: int, columns: int, random: np.random.Generator, quiet_rows: int = 0) -> Bytes:
    """Values around 1/sqrt(columns); those of the first `quiet_rows` far smaller."""
    blocks = columns // BLOCK
    data = np.empty((rows, blocks, BLOCK_BYTES), dtype=np.uint8)
    for begin, end, divisor in ((0, quiet_rows, 64), (quiet_rows, rows, 1)):
        scale = np.float16(1.0 / (np.sqrt(columns) * 74 * divisor))
        data[begin:end, :, :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    data[:, :, 2:] = random.integers(-127, 128, size=(rows, blocks, BLOCK), dtype=np.int8).view(np.uint8)
    return data.reshape(rows, blocks * BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Layers:
    """Makes the tensors of an architecture, in llama.cpp's names (src/models/*.cpp)."""

    shape: Shape
    random: np.random.Generator

    def matrix(self, name: str, rows: int, columns: int, quiet_rows: int = 0) -> Tensor:
        return Tensor(f"{name}.weight", rows, columns, lambda: random_matrix(rows, columns, self.random, quiet_rows))

    def vector(self, name: str, size: int, value: float) -> Tensor:
        return Tensor(name, 1, size, lambda: np.full(size, value, dtype=np.float32))

    def norm(self, name: str, size: int = 0) -> Iterator[Tensor]:
        yield self.vector(f"{name}.weight", size or self.shape.width, 1.0)
        if self.shape.architecture == STARCODER:
            yield self.vector(f"{name}.bias", size or self.shape.width, 0.0)

    def linear(self, name: str, rows: int, columns: int, bias: bool) -> Iterator[Tensor]:
        yield self.matrix(name, rows, columns)
        if bias:
            yield self.vector(f"{name}.bias", rows, 0.0)

    def attention(self, block: str) -> Iterator[Tensor]:
        shape = self.shape
        starcoder, gemma = shape.architecture == STARCODER, shape.architecture == GEMMA3
        all_heads, kv_heads = shape.heads * shape.head_width, shape.heads_kv * shape.head_width
        yield from self.norm(f"{block}.attn_norm")
        if starcoder:
            yield from self.linear(f"{block}.attn_qkv", all_heads + 2 * kv_heads, shape.width, True)
        else:
            for name, rows in (("attn_q", all_heads), ("attn_k", kv_heads), ("attn_v", kv_heads)):
                yield from self.linear(f"{block}.{name}", rows, shape.width, shape.architecture == QWEN2)
        if gemma:
            for name in ("attn_q_norm", "attn_k_norm"):
                yield from self.norm(f"{block}.{name}", shape.head_width)
            yield from self.norm(f"{block}.post_attention_norm")
        yield from self.linear(f"{block}.attn_output", shape.width, all_heads, starcoder)

    def feed_forward(self, block: str) -> Iterator[Tensor]:
        shape = self.shape
        starcoder = shape.architecture == STARCODER
        yield from self.norm(f"{block}.ffn_norm")
        if not starcoder:
            yield self.matrix(f"{block}.ffn_gate", shape.feed_forward, shape.width)
        if shape.architecture == GEMMA3:
            yield from self.norm(f"{block}.post_ffw_norm")
        yield from self.linear(f"{block}.ffn_up", shape.feed_forward, shape.width, starcoder)
        yield from self.linear(f"{block}.ffn_down", shape.width, shape.feed_forward, starcoder)

    def recurrence(self, block: str) -> Iterator[Tensor]:
        width, inner, rank = self.shape.width, 2 * self.shape.width, self.shape.width // 16
        yield from self.norm(f"{block}.attn_norm")
        yield self.matrix(f"{block}.ssm_in", 2 * inner, width)
        yield self.full(f"{block}.ssm_conv1d.weight", (inner, KERNEL), 0.1)
        yield self.vector(f"{block}.ssm_conv1d.bias", inner, 0.0)
        yield self.matrix(f"{block}.ssm_x", rank + 2 * STATE, inner)
        yield self.full(f"{block}.ssm_dt.weight", (inner, rank), 0.1)
        yield self.vector(f"{block}.ssm_dt.bias", inner, 0.0)
        yield self.full(f"{block}.ssm_a", (inner, STATE), -1.0)
        yield self.vector(f"{block}.ssm_d", inner, 1.0)
        yield self.matrix(f"{block}.ssm_out", width, inner)

    def full(self, name: str, shape: tuple[int, int], value: float) -> Tensor:
        """A small matrix of F32, all of one value."""
        return Tensor(name, shape[0], shape[1], lambda: np.full(shape, value, dtype=np.float32), plain=True)


def random_tensors(shape: Shape, known_tokens: int) -> Iterator[Tensor]:
    """All tensors of a shape. The rows of the tokens that have a text are small, so that one of those that have none is
    the likeliest.
    """
    layers = Layers(shape, np.random.default_rng(0))
    yield layers.matrix("token_embd", shape.vocabulary, shape.width, known_tokens)
    if shape.architecture == STARCODER:
        yield layers.matrix("position_embd", shape.context, shape.width)
    yield from layers.norm("output_norm")
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        if shape.architecture == MAMBA:
            yield from layers.recurrence(block)
        else:
            yield from layers.attention(block)
            yield from layers.feed_forward(block)


def write_random(shape: Shape, path: Path) -> None:
    tokens = read_tokens(gguf.GGUFReader(starter.MODEL))
    if shape.architecture == STARCODER:
        tokens = Tokens([STARCODER_CONTROLS.get(text, text) for text in tokens.texts], tokens.types, tokens.merges)
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(f"random {path.stem}")
    add_shape(writer, shape)
    if shape.architecture == STARCODER:
        writer.add_layer_norm_eps(1e-5)
    elif shape.architecture == MAMBA:
        writer.add_ssm_conv_kernel(KERNEL)
        writer.add_ssm_inner_size(2 * shape.width)
        writer.add_ssm_state_size(STATE)
        writer.add_ssm_time_step_rank(shape.width // 16)
        writer.add_layer_norm_rms_eps(1e-5)
    else:
        writer.add_rope_freq_base(1_000_000.0)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_key_length(shape.head_width)
        writer.add_value_length(shape.head_width)
    if shape.architecture == GEMMA3:
        writer.add_sliding_window(GEMMA_WINDOW)
    add_tokens(writer, tokens.filled(shape.vocabulary))
    write_file(writer, list(random_tensors(shape, len(tokens.texts))))
