"""GGUF files for tests: small ones that are right, and heads that claim anything."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import Any

U32, TEXT, ARRAY, BOOL = 4, 8, 9, 7


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> bytes:
    if isinstance(item, bool):
        return struct.pack("<IB", BOOL, item)
    if isinstance(item, int):
        return struct.pack("<II", U32, item)
    if isinstance(item, str):
        return struct.pack("<I", TEXT) + text(item)
    if item and isinstance(item[0], int):
        return struct.pack(f"<IIQ{len(item)}I", ARRAY, U32, len(item), *item)
    return struct.pack("<IIQ", ARRAY, TEXT, len(item)) + b"".join(text(each) for each in item)


def head(keys: int = 0, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


SHAPE = {
    "general.architecture": "llama",
    "general.name": "Test",
    "general.license": "apache-2.0",
    "general.file_type": 7,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 512,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}


def model(size: int = 100_000, seed: int = 0, **changed: Any) -> bytes:
    """A GGUF of one Q8_0 tensor of noise, of at least `size` bytes. `changed` are keys with `__` for dots."""
    keys: Mapping[str, Any] = {**SHAPE, **{name.replace("__", "."): item for name, item in changed.items()}}
    blocks = size // 34 + 1
    data = head(len(keys), 1) + b"".join(text(name) + value(item) for name, item in keys.items())
    data += text("weights") + struct.pack("<IQIQ", 1, blocks * 32, 8, 0)
    data += bytes(-len(data) % 32)
    return data + random.Random(seed).randbytes(blocks * 34)
