"""The head of a GGUF file: what the model is, and whether the file can be what it says. No weights are read, and
llama.cpp is not loaded.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every number of the file is held against the file's size
before anything is read or kept by it: a head that is damaged or made up costs an error, not memory.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"

# Kinds of values and their struct formats; 8 is a text, 9 an array.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

# No real head comes near these: the largest vocabularies have a million tokens, large models thousands of tensors.
MOST_KEYS, MOST_TENSORS, MOST_ITEMS, LONGEST_TEXT = 100_000, 1_000_000, 4_000_000, 64 << 20
KEPT_TEXT = 1 << 16  # longer texts are passed over, but for their length
# Nor near these: llama.cpp takes 512 layers (llama-hparams.h), the widest models have some 20,000 channels, the longest
# contexts ten million tokens.
MOST_LAYERS, MOST_CHANNELS, MOST_CONTEXT = 512, 1 << 24, 1 << 32

# How many weights a block holds and its bytes, by ggml's type (ggml.h, ggml-common.h). Of a type that is not here only
# the beginning of a tensor is checked.
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    39: (32, 17),
}

# How a model is quantised, by `general.file_type` (llama.h, enum llama_ftype).
QUANTISATIONS = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    25: "IQ4_NL",
    30: "IQ4_XS",
    32: "BF16",
    38: "MXFP4",
}


class HeaderError(ValueError):
    """A file that is no whole GGUF, said so that it can be shown behind the file's name."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a file says. Numbers that it does not have are 0, texts empty."""

    architecture: str
    name: str
    kind: str  # general.type: model, adapter, mmproj, imatrix
    licence: str
    quantisation: str
    parameters: int  # weights, counted in this file
    layers: int
    width: int  # of the embedding
    heads: int
    heads_kv: int
    key_length: int
    value_length: int
    feed_forward: int  # the widest part of a layer that one token goes through
    cached: int  # numbers that the KV cache keeps of each token, in all layers
    state: int  # numbers that recurrent layers keep of each text, however long it is
    context_length: int  # that the model was trained with
    vocabulary: int
    chat_template: bool
    generates: bool  # False: it turns text into vectors
    parts: int  # files that are loaded as one
    tied: bool  # the embedding is also what the answer is read from
    active: float  # share of the weights that a token is computed with: less than 1 in a mixture of experts


def begins_as_gguf(path: Path) -> bool:
    """Whether the first four bytes are those of a GGUF; False too where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """The head of a file, with every tensor held against the file's length. Raises HeaderError, OSError."""
    with path.open("rb") as file:
        return _header(_Reader(file, os.fstat(file.fileno()).st_size))


@dataclass(slots=True)
class _Reader:
    """A file that is read from its beginning, and how much of it is left."""

    file: BinaryIO
    left: int
    order: str = "<"

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise HeaderError("is cut short, or its head is damaged. Download it again.")
        self.left -= count
        data = self.file.read(count)
        if len(data) < count:
            raise HeaderError("became shorter while it was read. Try again.")
        return data

    def skip(self, count: int) -> None:
        if count > self.left:
            raise HeaderError("is cut short, or its head is damaged. Download it again.")
        self.left -= count
        self.file.seek(count, os.SEEK_CUR)

    def number(self, form: str) -> Any:
        return struct.unpack(self.order + form, self.take(struct.calcsize("=" + form)))[0]

    def count(self, what: str, most: int, form: str = "Q") -> int:
        value = int(self.number(form))
        if not 0 <= value <= most:
            raise HeaderError(f"claims to have {value} {what}, which no model has. Its head is damaged.")
        return value

    def text(self) -> str:
        length = self.count("bytes in one text", LONGEST_TEXT)
        if length > KEPT_TEXT:
            self.skip(length)
            return "…"
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value; of an array only its length and, where they are numbers, its first items are kept."""
        if kind == _TEXT:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise HeaderError(f"has a value of the kind {kind}, which GGUF does not have. Its head is damaged.")
        inner = self.number("I")
        length = self.count("items in one list", MOST_ITEMS)
        if inner in _NUMBERS:
            size = struct.calcsize("=" + _NUMBERS[inner])
            kept = min(length, 1024)
            items = struct.unpack(f"{self.order}{kept}{_NUMBERS[inner]}", self.take(kept * size))
            self.skip((length - kept) * size)
            return _List(length, items)
        if inner != _TEXT:
            raise HeaderError("has a list of lists, which no model has. Its head is damaged.")
        for _ in range(length):
            self.skip(self.count("bytes in one text", LONGEST_TEXT))
        return _List(length, ())


@dataclass(frozen=True, slots=True)
class _List:
    length: int
    items: tuple[Any, ...]


def _header(reader: _Reader) -> Header:
    size = reader.left
    if size == 0:
        raise HeaderError("is empty. Download it again.")
    magic = reader.take(min(4, size))
    if magic != MAGIC:
        raise HeaderError(f"is not a GGUF file (it begins with {magic!r}). Convert the model, or download a GGUF.")
    version = reader.number("I")
    if version > 0xFFFF:  # written on a machine of the other byte order
        reader.order = ">"
        version = struct.unpack(">I", struct.pack("<I", version))[0]
    if version not in (2, 3):
        raise HeaderError(f"is GGUF version {version}; llama.cpp reads versions 2 and 3. Look for a newer file.")
    tensors = reader.count("tensors", MOST_TENSORS)
    keys = reader.count("keys", MOST_KEYS)
    values = {}
    for _ in range(keys):
        key = reader.text()
        values[key] = reader.value(reader.number("I"))
    infos = [_tensor(reader) for _ in range(tensors)]
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise HeaderError(f"claims to be aligned to {alignment!r} bytes. Its head is damaged.")
    head = size - reader.left
    start = (head + alignment - 1) // alignment * alignment
    end = max((start + each.offset + each.size for each in infos), default=head)
    if end > size:
        raise HeaderError(f"has {size:,} of at least {end:,} bytes: it is incomplete. Download it again.")
    return _describe(values, infos)


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    offset: int  # behind the head
    size: int  # bytes
    weights: int


def _tensor(reader: _Reader) -> _Tensor:
    name = reader.text()
    weights = 1
    for _ in range(reader.count("dimensions of a tensor", 8, "I")):
        weights *= reader.count("weights in one tensor", 1 << 48)
    block, size = BLOCKS.get(reader.number("I"), (1, 0))
    offset = reader.count("bytes before a tensor", 1 << 56)
    if weights > 1 << 48:
        raise HeaderError(f"claims to have {weights} weights in one tensor. Its head is damaged.")
    return _Tensor(name, offset, -(-weights // block) * size, weights)


def _describe(values: dict[str, Any], tensors: list[_Tensor]) -> Header:
    architecture = _text(values, "general.architecture")

    def own(key: str, most: int = MOST_CHANNELS) -> int:
        number = max(_numbers(values.get(f"{architecture}.{key}")), default=0)
        if number > most:
            raise HeaderError(f"claims that its {key} is {number}, which no model has. Its head is damaged.")
        return number

    layers = own("block_count", MOST_LAYERS)
    heads = own("attention.head_count")
    heads_kv = own("attention.head_count_kv") or heads
    width = own("embedding_length")
    per_head = width // heads if heads else 0
    key_length = own("attention.key_length") or per_head
    # Where keys and values are compressed to one (MLA), the value is a part of the key.
    value_length = 0 if own("attention.key_length_mla") else own("attention.value_length") or per_head
    by_layer = list(_numbers(values.get(f"{architecture}.attention.head_count_kv"))) or [heads_kv]
    cached = [by_layer[each] if len(by_layer) == layers else heads_kv for each in range(layers)]
    if interval := own("full_attention_interval"):
        cached = [each if place % interval == interval - 1 else 0 for place, each in enumerate(cached)]
    cached = cached[: max(0, layers - own("attention.shared_kv_layers"))]
    tokens = values.get("tokenizer.ggml.tokens")
    file_type = values.get("general.file_type")
    causal = values.get(f"{architecture}.attention.causal", True)
    return Header(
        architecture=architecture,
        name=_text(values, "general.name"),
        kind=_text(values, "general.type") or "model",
        licence=_text(values, "general.license"),
        quantisation=QUANTISATIONS.get(file_type, "") if isinstance(file_type, int) else "",
        parameters=sum(each.weights for each in tensors),
        layers=layers,
        width=width,
        heads=heads,
        heads_kv=heads_kv,
        key_length=key_length,
        value_length=value_length,
        feed_forward=max(
            own("feed_forward_length"),
            own("expert_feed_forward_length") * own("expert_used_count"),
            2 * own("ssm.inner_size"),
        ),
        cached=sum(cached) * (key_length + value_length),
        # Beside attention in each layer, or in the layers without any.
        state=_state(own) * (cached.count(0) or layers),
        context_length=own("context_length", MOST_CONTEXT),
        vocabulary=tokens.length if isinstance(tokens, _List) else own("vocab_size"),
        chat_template="tokenizer.chat_template" in values,
        # 0: no pooling, as in a model that writes (llama.h, enum llama_pooling_type)
        generates=bool(causal) and own("pooling_type") == 0 and architecture not in ("clip", "t5encoder"),
        parts=max(1, max(_numbers(values.get("split.count")), default=1)),
        tied=all(each.name != "output.weight" for each in tensors),
        active=own("expert_used_count") / own("expert_count") if own("expert_count") else 1.0,
    )


def _state(own: Callable[[str], int]) -> int:
    """Numbers that one recurrent layer keeps of a text (llama.cpp, src/llama-hparams.cpp, n_embd_r and n_embd_s)."""
    width = own("embedding_length")
    if head := own("wkv.head_size"):
        return (own("token_shift_count") or 2) * width + width * head
    if shifted := own("shortconv.l_cache"):
        return width * (shifted - 1)
    inner, state = own("ssm.inner_size"), own("ssm.state_size")
    return max(0, own("ssm.conv_kernel") - 1) * (inner + 2 * own("ssm.group_count") * state) + inner * state


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "")
    return value if isinstance(value, str) else ""


def _numbers(value: Any) -> Iterator[int]:
    """A number, or the numbers of a list with one for each layer."""
    for each in value.items if isinstance(value, _List) else [value]:
        if isinstance(each, int) and not isinstance(each, bool) and each >= 0:
            yield each


def parts_of(path: Path) -> list[Path]:
    """The files of the model of which this is one, the first of them first. Most have no other."""
    found = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})", path.stem)
    if not found or not 1 <= int(found[2]) <= int(found[3]):
        return [path]
    return [path.with_name(f"{found[1]}-{i:05}-of-{found[3]}{path.suffix}") for i in range(1, int(found[3]) + 1)]


def check(path: Path) -> Header:
    """The head of a file from which text can be generated. Raises HeaderError, OSError."""
    header = read_header(path)
    if header.architecture == "clip":
        raise HeaderError("is a projector for pictures (mmproj), no language model. Choose the model's other file.")
    if header.kind != "model":
        raise HeaderError(f"is no model but a part of one ({header.kind}). Choose the model's own file.")
    if not header.generates:
        raise HeaderError(
            f"holds a model that turns text into vectors ({header.architecture or 'no architecture'}): it cannot "
            "write. Choose a coding model."
        )
    return header
