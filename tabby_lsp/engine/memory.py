"""How much memory a model takes, worked out from its head before anything is loaded, and what of it fits."""

from __future__ import annotations

from dataclasses import dataclass

from tabby_lsp.engine.gguf import Header

# The most tokens of one batch.
LARGEST_BATCH = 512
# In which prompts are read ahead, so that this costs no document its own.
SPARE_SEQUENCES = 1
# Tokens whose logits are kept at once, at the least: those of a draft and the token before it (engine/draft.py).
FEWEST_OUTPUTS = 8
# What a batch is computed in: so many numbers for each token and channel of the widest matrices and of the embedding,
# and a mask of two bytes for each token of the context. llama.cpp took 139.3, 121.3, 48.4 and 17.8 MiB and 1026 bytes
# a token of context for widths of 3584, 5120, 2048 and 640 with 18944, 13824, 5504 and 2048 inside
# (llama-cpp-python 0.3.36, flash attention); this says 139, 121, 48.3 and 17 MiB, and 1024 bytes.
WIDEST_FLOATS, WIDTH_FLOATS, MASK_BYTES = 3, 4, 2
# What the engine takes without a model, Python with numpy and llama.cpp; and a vocabulary's texts and merges, for each
# token. Measured: 44 MiB, and 230 to 300 bytes in vocabularies of 50,000 to 262,000 (tests/bench/memory.py).
PROCESS_BYTES, TOKEN_BYTES = 45 << 20, 300

# A context that does not fit is made smaller in steps, to no less than this: a prompt and a suggestion of some lines.
SMALLEST_CONTEXT, CONTEXT_STEP = 512, 256
# What is left free on a GPU, as llama.cpp's own programs leave it (common/common.h, fit_params_target): its driver and
# the screen need some.
GPU_MARGIN = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes: the files, KV cache and recurrent states, what is computed in, the process and its vocabulary."""

    weights: int
    cache: int
    buffers: int
    process: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.buffers + self.process


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model is loaded so that it fits. `gpu_layers` counts the output as a layer, as llama.cpp does; `main` is
    what it then needs of the main memory."""

    context: int
    gpu_layers: int
    need: Need
    main: int


def outputs(sequences: int) -> int:
    """Tokens whose logits are kept at once."""
    return max(FEWEST_OUTPUTS, sequences)


def need(header: Header, weights: int, context: int, sequences: int) -> Need:
    """What a model takes whose files have so many bytes, for `sequences` texts of up to `context` tokens each."""
    cache = 2 * header.cached * context + 4 * header.state  # F16, F32
    channels = WIDEST_FLOATS * header.feed_forward + WIDTH_FLOATS * header.width
    buffers = LARGEST_BATCH * (4 * channels + MASK_BYTES * context) + 4 * header.vocabulary * outputs(sequences)
    return Need(weights, cache * sequences, buffers, PROCESS_BYTES + TOKEN_BYTES * header.vocabulary)


def fit(
    header: Header,
    weights: int,
    context: int,
    sequences: int,
    free: int | None,
    gpu_layers: int = 0,
    free_gpu: int | None = None,
) -> Fit:
    """What of the wanted context and layers on the GPU fits into so many free bytes of main memory and of the GPU, None
    where that is not known. Layers are taken from the GPU first. Not even the smallest context may fit: then `main` is
    more than is free.
    """
    context = min(context, header.context_length or context)
    while True:
        needed = need(header, weights, context, sequences)
        layers = _on_gpu(header.layers + 1, gpu_layers, needed, free_gpu)
        share = 1 - layers / (header.layers + 1)
        main = round(share * (needed.weights + needed.cache)) + needed.buffers + needed.process
        if free is None or main <= free or context <= SMALLEST_CONTEXT:
            return Fit(context, layers, needed, main)
        context = max(SMALLEST_CONTEXT, (context - 1) // CONTEXT_STEP * CONTEXT_STEP)


def _on_gpu(all: int, wanted: int, needed: Need, free: int | None) -> int:
    """How many of all layers fit on the GPU beside its buffers."""
    if free is None:
        return min(all, wanted)
    room = free - GPU_MARGIN - needed.buffers
    each = (needed.weights + needed.cache) / all
    return max(0, min(all, wanted, int(room / each) if each else all))
