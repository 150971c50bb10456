"""How much memory a model takes: from numbers of its head, so that it can be said before anything is loaded."""

from __future__ import annotations

# The most tokens of one batch.
LARGEST_BATCH = 512
# Compute buffers of one batch, per token and channel of the embedding. llama.cpp took 6.5, 39.5 and 68.5 MiB for widths
# of 192, 896 and 1536 (the starter, Qwen2.5-Coder 0.5B and 1.5B) and batches of 512; this says 9, 42 and 72 MiB.
SCRATCH_FLOATS_PER_CHANNEL = 24
# In which prompts are read ahead, so that this costs no document its own.
SPARE_SEQUENCES = 1


def cache_bytes(layers: int, heads_kv: int, key_length: int, value_length: int, tokens: int) -> int:
    """Keys and values of every layer for so many tokens of all sequences together, two bytes each (F16)."""
    return layers * heads_kv * (key_length + value_length) * 2 * tokens


def scratch_bytes(width: int, vocabulary: int, outputs: int) -> int:
    """What one batch is computed in, and the logits of its outputs."""
    return 4 * (LARGEST_BATCH * width * SCRATCH_FLOATS_PER_CHANNEL + vocabulary * outputs)
