"""A small model at a large one's cost: it says what it said.

The old tensors stand in larger ones of zeros, in the same blocks of Q8_0. What makes it the same model:

- Norms. The mean of squares over W' channels of which W are filled is smaller by W / W'. So the weights are scaled by
  sqrt(W / W'), and epsilon by W / W'.
- Heads. Head h reads the keys of kv head h // (heads / kv heads), so a kv head's query heads stay in its own, larger,
  group; what a group has more of is zero, and so are the columns that would read it.
- Wider heads. RoPE turns the pair (i, i + d/2) by a frequency that depends on i / d only. In a head f times as wide it
  is the pair (f i, f i + f d/2). The attention divides by sqrt(f d), so the queries are scaled by sqrt(f). Only that
  is not exact, unless f is a power of four: the scales of their blocks are rounded anew, and where two tokens are
  about as likely the other one may win. The 0.5B has heads of the starter's width.
- Layers. The further ones add zero.
- Vocabulary. The output layer is the embedding again, where a row of zeros has a logit of zero, which wins against
  negative ones. So the first further layer puts a small constant into one spare channel (its values are a bias, and
  what attention makes of a constant is that constant), the last norm makes it large, and the unused rows answer it
  with a minus: their logits are far below all others. The constant is too small to change what the norm sees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from shapes import (
    BLOCK,
    BLOCK_BYTES,
    Q8_0,
    Bytes,
    Shape,
    ShapeError,
    Tensor,
    add_shape,
    add_tokens,
    random_tensors,
    read_tokens,
    write_file,
)

# What the constant is in the hidden state, and about what it is behind the last norm. The first is the smallest scale
# that a block can have without loss; its square vanishes beside the hidden state's.
CONSTANT = 2.0**-14
AMPLIFIED = 2.0**14


@dataclass(frozen=True, slots=True)
class Padding:
    """Where the channels of a model of one shape stand in one of another. Raises ShapeError if they do not fit."""

    old: Shape
    new: Shape

    def __post_init__(self) -> None:
        old, new = self.old, self.new
        for name in ("layers", "width", "heads_kv", "group", "feed_forward", "vocabulary"):
            if getattr(new, name) < getattr(old, name):
                raise ShapeError(f"{name}: {getattr(old, name)} does not fit into {getattr(new, name)}")
        if old.architecture != new.architecture:
            raise ShapeError(f"a model of {old.architecture} cannot be padded to one of {new.architecture}")
        if new.head_width % old.head_width:
            raise ShapeError(f"heads of {old.head_width} channels do not divide heads of {new.head_width}")
        if self.grows and (new.layers == old.layers or new.width == old.width):
            raise ShapeError("a larger vocabulary needs a further layer and a wider hidden state")

    @property
    def grows(self) -> bool:
        return self.new.vocabulary > self.old.vocabulary

    @property
    def stretch(self) -> int:
        """How many times as wide a head becomes."""
        return self.new.head_width // self.old.head_width

    @property
    def spare(self) -> int:
        """The channel of the constant: the first that the old model does not have, in a block of its own."""
        return self.old.width

    def head(self, head: int) -> int:
        """The place of a query head."""
        return head // self.old.group * self.new.group + head % self.old.group

    def turned(self) -> list[int]:
        """The places of a query's or a key's channels in its head."""
        half, new_half = self.old.head_width // 2, self.new.head_width // 2
        return [i * self.stretch if i < half else new_half + (i - half) * self.stretch for i in range(2 * half)]

    def query_rows(self) -> list[int]:
        return [self.head(head) * self.new.head_width + i for head in range(self.old.heads) for i in self.turned()]

    def key_rows(self) -> list[int]:
        return [head * self.new.head_width + i for head in range(self.old.heads_kv) for i in self.turned()]

    def value_rows(self) -> list[int]:
        heads, width = range(self.old.heads_kv), self.old.head_width
        return [head * self.new.head_width + i for head in heads for i in range(width)]

    def attended_columns(self) -> list[int]:
        heads, width = range(self.old.heads), self.old.head_width
        return [self.head(head) * self.new.head_width + i for head in heads for i in range(width)]


def read_shape(source: gguf.GGUFReader) -> Shape:
    def number(key: str) -> int:
        return int(source.fields[f"{architecture}.{key}"].contents())

    architecture = str(source.fields["general.architecture"].contents())
    return Shape(
        layers=number("block_count"),
        width=number("embedding_length"),
        heads=number("attention.head_count"),
        heads_kv=number("attention.head_count_kv"),
        feed_forward=number("feed_forward_length"),
        vocabulary=len(source.fields["tokenizer.ggml.tokens"].data),
        context=number("context_length"),
        architecture=architecture,
    )


def place_blocks(blocks: Bytes, rows: int, columns: int, at_rows: Sequence[int], at_columns: Sequence[int]) -> Bytes:
    """A matrix among zeros. Columns can be moved by whole blocks only."""
    starts = list(at_columns[::BLOCK])
    assert list(at_columns) == [start + i for start in starts for i in range(BLOCK)], "columns move block by block"
    placed = np.zeros((rows, columns // BLOCK, BLOCK_BYTES), dtype=np.uint8)
    placed[np.ix_(list(at_rows), [start // BLOCK for start in starts])] = blocks
    return placed


def scale_blocks(blocks: Bytes, factor: float) -> None:
    scales = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16).astype(np.float32) * factor
    blocks[:, :, :2] = scales.astype(np.float16).view(np.uint8).reshape(*blocks.shape[:2], 2)


def set_value(blocks: Bytes, row: int, column: int, value: float) -> None:
    """Puts a value into a block that is zero otherwise."""
    block = blocks[row, column // BLOCK]
    block[:2] = np.frombuffer(np.float16(abs(value)).tobytes(), dtype=np.uint8)
    block[2 + column % BLOCK] = np.int8(math.copysign(1, value)).view(np.uint8)


class Padder:
    """Makes the tensors of the padded model, by their names."""

    def __init__(self, source: gguf.GGUFReader, shape: Shape) -> None:
        self.padding = Padding(read_shape(source), shape)
        self._tensors = {tensor.name: tensor for tensor in source.tensors}
        for tensor in source.tensors:
            wanted = Q8_0 if len(tensor.shape) == 2 else gguf.GGMLQuantizationType.F32
            if tensor.tensor_type != wanted:
                raise ShapeError(f"{tensor.name} is {tensor.tensor_type.name}, not {wanted.name}")

    def tensors(self) -> Iterator[Tensor]:
        """In the order of random models', which have the same names."""
        for each in random_tensors(self.padding.new, 0):
            make: Any = self._vector if each.is_vector else self._matrix
            yield Tensor(each.name, each.rows, each.columns, partial(make, each))

    def _places(self, name: str) -> tuple[Sequence[int], Sequence[int]]:
        """Where the rows and the columns of a tensor's matrix go; a bias goes where the rows go."""
        padding = self.padding
        width, hidden = range(padding.old.width), range(padding.old.feed_forward)
        return {
            "token_embd": (range(padding.old.vocabulary), width),
            "attn_q": (padding.query_rows(), width),
            "attn_k": (padding.key_rows(), width),
            "attn_v": (padding.value_rows(), width),
            "attn_output": (width, padding.attended_columns()),
            "ffn_gate": (hidden, width),
            "ffn_up": (hidden, width),
            "ffn_down": (width, hidden),
        }[name]

    def _matrix(self, tensor: Tensor) -> Bytes:
        padding, name = self.padding, tensor.name.split(".")[-2]
        source = self._tensors.get(tensor.name)
        if source is None:
            blocks = np.zeros((tensor.rows, tensor.columns // BLOCK, BLOCK_BYTES), dtype=np.uint8)
        else:
            rows, columns = self._places(name)
            old = np.asarray(source.data, dtype=np.uint8).reshape(len(rows), -1, BLOCK_BYTES)
            blocks = place_blocks(old, tensor.rows, tensor.columns, rows, columns)
        if name == "attn_q" and padding.stretch > 1:
            scale_blocks(blocks, math.sqrt(padding.stretch))
        if padding.grows and tensor.name == f"blk.{padding.old.layers}.attn_output.weight":
            set_value(blocks, padding.spare, 0, CONSTANT)  # reads the bias that `_vector` sets
        if padding.grows and name == "token_embd":
            for row in range(padding.old.vocabulary, tensor.rows):
                set_value(blocks, row, padding.spare, -1.0)
        return blocks.reshape(tensor.rows, -1)

    def _vector(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        padding, (name, kind) = self.padding, tensor.name.split(".")[-2:]
        values = np.zeros(tensor.columns, dtype=np.float32)
        source = self._tensors.get(tensor.name)
        if source is not None:
            old = np.asarray(source.data, dtype=np.float64)
            if kind == "bias":
                values[list(self._places(name)[0])] = old * (math.sqrt(padding.stretch) if name == "attn_q" else 1.0)
            else:
                values[: len(old)] = old * math.sqrt(padding.old.width / padding.new.width)
        if padding.grows and tensor.name == f"blk.{padding.old.layers}.attn_v.bias":
            values[0] = 1.0
        if padding.grows and tensor.name == "output_norm.weight":
            values[padding.spare] = AMPLIFIED / CONSTANT
        return values


def write_padded(source_path: Path, shape: Shape, path: Path, context: int = 0) -> None:
    """The source's text at the shape's cost. All other keys stay, the context's length too unless one is given: a
    server refuses longer prompts, and writes nonsense behind what the source was trained on. Raises ShapeError.
    """
    source = gguf.GGUFReader(source_path)
    padder = Padder(source, shape)
    old = padder.padding.old
    writer = gguf.GGUFWriter(path, old.architecture)
    add_shape(writer, dataclasses.replace(shape, context=context or old.context))
    epsilon = f"{old.architecture}.attention.layer_norm_rms_epsilon"
    writer.add_layer_norm_rms_eps(float(source.fields[epsilon].contents()) * old.width / shape.width)
    writer.add_vocab_size(shape.vocabulary)
    add_tokens(writer, read_tokens(source).filled(shape.vocabulary))
    taken = {*writer.kv_data[0], epsilon, "general.size_label"}
    for key, field in source.fields.items():
        if key not in taken and not key.startswith("GGUF."):
            kind = field.types[0]
            writer.add_key_value(key, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    write_file(writer, list(padder.tensors()))
