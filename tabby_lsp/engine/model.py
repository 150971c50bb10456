"""A model in memory: its vocabulary, its KV cache, one step of computing.

With `loading` and `vocab` the only importer of `llama_cpp`, and of that only llama.cpp's own C interface. Knows tokens,
not what they are for.
"""

from __future__ import annotations

import collections
import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from tabby_lsp.data import Dialect, ModelSettings
from tabby_lsp.engine.abort import AbortFlag
from tabby_lsp.engine.loading import ModelError, checked_files, fitted, gpus, last_line, listen_to_log, load
from tabby_lsp.engine.memory import LARGEST_BATCH, SPARE_SEQUENCES, outputs
from tabby_lsp.engine.threads import Threads, running_mean, thread_counts
from tabby_lsp.engine.vocab import Vocab
from tabby_lsp.engine.watch import Watch
from tabby_lsp.processes import cores

log = logging.getLogger(__name__)

# llama.cpp looks at the abort flag between two nodes of its graph, so a node is the longest that computing goes
# on after a cancel. Batches are sized to keep the largest node under this.
NODE_MILLISECONDS = 16.0
SMALLEST_BATCH = 16
# Batches are multiples of this: 96 tokens are read at the speed of 64, 128 at 7 % more (Q8_0, two cores of a Zen 4).
BATCH_TILE = 64
SMALLEST_TIMED = 64  # tokens of a batch whose time for each is that of a larger one
# The largest node of a transformer layer is one of the three matrices of its feed-forward part.
LARGE_NODES_PER_LAYER = 3
# What a step of a prompt may take that may be stopped at the next key. It is then lost, so it has to be shorter than
# the time between two keys.
SHORT_MILLISECONDS = 50.0

ABORTED = 2  # what llama_decode returns when the flag was set


class Model:
    """A model, its KV cache of `sequences` sequences, and the flag that stops its computing.

    Raises ModelError. `progress` is given the share that is loaded, 0 to 1; loading stops when it says False.
    """

    def __init__(self, settings: ModelSettings, progress: Callable[[float], bool] = lambda share: True) -> None:
        files = checked_files(Path(settings.path))
        self.path = files.path
        self.repacked = settings.repacked
        lines = listen_to_log()
        llama_cpp.llama_backend_init()
        self.devices = gpus(settings)
        fit, self.notes = fitted(files, settings, self.devices)
        self.gpu_layers, self.context_size, self.memory_needed = fit.gpu_layers, fit.context, fit.need.total
        self._handle = load(self.path, self.gpu_layers, self.devices, settings.repacked, progress, lines)
        architecture, name = self.metadata("general.architecture"), self.metadata("general.name")
        origin = self.metadata("general.base_model.0.name")  # of what it was made
        names = f"{name} {self.metadata('general.basename')} {origin} {self.path.stem}"
        vocab_handle = llama_cpp.llama_model_get_vocab(self._handle)
        if not llama_cpp.llama_model_has_decoder(self._handle) or vocab_handle is None:
            raise ModelError(f"{self.path} holds no model that writes text (architecture {architecture!r}).")
        self.vocab = Vocab(vocab_handle, names, architecture)
        if self.vocab.size == 0:
            raise ModelError(f"{self.path} holds no vocabulary.")
        self.name = name or self.path.stem
        self.parallelism = settings.parallelism
        self.sequences = self.parallelism + SPARE_SEQUENCES
        self.layers = max(1, llama_cpp.llama_model_n_layer(self._handle))
        found = cores.cores()
        # On a GPU the threads hardly matter, and a step cannot be given up.
        fixed = settings.threads or (found.fast if self.gpu_layers else 0)
        self._threads = Threads((fixed,) if fixed else thread_counts(found), begin=found.fast)
        self.threads = self._threads.count(prompt=False)
        self._context = self._new_context(lines)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(LARGEST_BATCH, 0, 1)
        self.flag = AbortFlag()
        self._abort_callback = ctypes.cast(self.flag.callback, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(self._context, self._abort_callback, self.flag.address)
        self._watch = Watch(self.flag.redo)
        self.spares_core = False  # for others: nobody waits for what is computed now
        self._milliseconds_per_token = {False: 1.0, True: 1.0}  # by `spares_core`
        self.rolls_back = False  # whether the memory can drop a tail, so that a step can be done again
        self._warm_up(progress)

    def metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(512)
        size = llama_cpp.llama_model_meta_val_str(self._handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else ""

    @property
    def dialect(self) -> Dialect:
        vocab = self.vocab
        template = llama_cpp.llama_model_chat_template(self._handle, None) or b""
        chatml = None not in (vocab.token("<|im_start|>"), vocab.token("<|im_end|>"))
        # Where a file names no first token, llama.cpp takes one that is a comma in most vocabularies.
        first, last = (vocab.text(each) for each in (vocab.bos, vocab.eos))
        bos, eos = (each if each in vocab.controls() else "" for each in (first, last))
        return Dialect(template.decode("utf-8", "replace"), bos, eos, chatml)

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self._handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def _new_context(self, lines: collections.deque[str]) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.context_size * self.sequences
        params.n_batch = params.n_ubatch = min(LARGEST_BATCH, params.n_ctx)
        params.n_seq_max = self.sequences
        # Logits are only asked of the last token of a prompt and of the tokens of a draft. The default keeps room
        # for those of every token: 300 MB with a vocabulary of 150,000.
        params.n_outputs_max = outputs(self.sequences)
        params.n_threads = params.n_threads_batch = self.threads  # see `evaluate`
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.offload_kqv = self.gpu_layers > 0
        params.no_perf = True
        # A sliding window cannot be rolled back past its own length: keep all of it.
        params.swa_full = True
        # Each document in a cache of its own: attention then does not walk over the others' cells.
        params.kv_unified = False
        lines.clear()
        context = llama_cpp.llama_init_from_model(self._handle, params)
        if not context:
            raise ModelError(
                f"llama.cpp could not make a context of {params.n_ctx} tokens for {self.path}: "
                f"{last_line(lines)}. Lower `context_size`."
            )
        return context

    def _warm_up(self, progress: Callable[[float], bool]) -> None:
        """Pages the weights in, and measures the speed that batches are sized by."""
        start = self.vocab.bos if self.vocab.bos is not None else 0
        for count in (8, 32):
            progress(1.0)  # which may wait for another engine's work
            begin = time.perf_counter()
            self.evaluate([start] * count, 0, 0)
            each = (time.perf_counter() - begin) * 1000 / count
            self._milliseconds_per_token = {False: each, True: each}
            self.rolls_back = bool(llama_cpp.llama_memory_seq_rm(self._memory, 0, count // 2, -1))
            self.truncate(0, 0)

    # --- computing

    @property
    def prefill_rate(self) -> float:
        """Tokens per second where somebody waits for them, a running mean."""
        return 1000.0 / self._milliseconds_per_token[False]

    def save_energy(self, reason: str) -> None:
        """Computes with half of the threads, unless the user has set them, as long as there is a reason. May be called
        from any thread."""
        self._threads.saving = bool(reason)

    def batch_size(self, now: float) -> int:
        """Tokens of a call that begins `now`, so that a cancel takes effect soon enough.

        On a GPU the flag is not polled inside a call at all: there the whole call is held to the limit. Single
        tokens, and then a small batch, where more threads are tried.
        """
        nodes = 1 if self.gpu_layers else LARGE_NODES_PER_LAYER * self.layers
        size = int(NODE_MILLISECONDS * nodes / self._milliseconds_per_token[self.spares_core])
        if self._tries_more(now) or self._threads.trials > 1:
            return 1
        if self._threads.trials or (not self.spares_core and self._threads.contests(True, now)):
            size = min(size, BATCH_TILE)
        if size > BATCH_TILE:
            size = size // BATCH_TILE * BATCH_TILE
        return max(SMALLEST_BATCH, min(LARGEST_BATCH, size, self.context_size))

    def batch_within(self, milliseconds: float, now: float) -> int:
        """Tokens per call that take about so long, or `SHORT_MILLISECONDS` if that is more."""
        fitting = int(max(milliseconds, SHORT_MILLISECONDS) / self._milliseconds_per_token[self.spares_core])
        return max(1, min(self.batch_size(now), fitting))

    def evaluate(self, tokens: Sequence[int], position: int, sequence: int, outputs: int = 1) -> float | None:
        """One call of llama_decode, of at most LARGEST_BATCH tokens; the logits of the last `outputs` of them can
        then be read. Returns milliseconds, or None if the flag was set; then the sequence holds an unknown number of
        these tokens.
        """
        places = [(token, position + i, sequence) for i, token in enumerate(tokens)]
        milliseconds = self._evaluate(places, outputs)
        if milliseconds is not None and len(tokens) >= SMALLEST_BATCH:
            means = self._milliseconds_per_token
            means[self.spares_core] = running_mean(means[self.spares_core], milliseconds / len(tokens), 0.3)
        return milliseconds

    def evaluate_together(self, places: Sequence[tuple[int, int, int]]) -> bool:
        """One token, with its position and sequence, for each of several sequences; all of their logits can then be
        read. False if the flag was set, as for `evaluate`.
        """
        return self._evaluate(places, len(places)) is not None

    def _evaluate(self, places: Sequence[tuple[int, int, int]], outputs: int) -> float | None:
        batch = self._batch
        batch.n_tokens = len(places)
        for i, (token, position, sequence) in enumerate(places):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i >= len(places) - outputs
        while not self.flag.aborted:
            milliseconds = self._decode(len(places))
            if milliseconds is not None:
                return milliseconds
            if not self.flag.redone():
                return None
            # It took too long with so many threads: once more, with fewer.
            begins = {sequence: position for _, position, sequence in reversed(places)}
            for sequence, position in begins.items():
                llama_cpp.llama_memory_seq_rm(self._memory, sequence, position, -1)
        return None

    def _decode(self, tokens: int) -> float | None:
        """Computes the batch, in milliseconds. None if it was stopped. Raises ModelError."""
        # Only what is comparable is timed: steps of as many tokens, and parts of a prompt that are large enough.
        prompt = tokens >= SMALLEST_BATCH
        kind, units = (SMALLEST_TIMED, float(tokens)) if prompt else (tokens, 1.0)
        timed = not prompt or tokens >= SMALLEST_TIMED
        start = time.perf_counter()
        threads = self._threads
        if tokens == 1 and self._tries_more(start):
            threads.try_more()
        count = threads.choose(kind if timed else None, prompt, start, spares=self.spares_core)
        if count != self.threads:
            self.threads = count
            llama_cpp.llama_set_n_threads(self._context, count, count)
        limit = threads.limit(kind, count, units) if timed and self.rolls_back else None
        if limit is not None:
            self._watch.begin(limit)
        result = llama_cpp.llama_decode(self._context, self._batch)
        if limit is not None:
            self._watch.end()
        now = time.perf_counter()
        if self.flag.to_be_redone:
            threads.give_up(count, prompt, now)
        if result == ABORTED:
            return None
        if result != 0:
            raise ModelError(f"llama.cpp could not decode ({result}).")
        self.flag.redone()
        milliseconds = (now - start) * 1000
        if timed:
            threads.measured(kind, count, milliseconds, units, now)
        return milliseconds

    def _tries_more(self, now: float) -> bool:
        return not self.spares_core and self._threads.due(now)

    def logits(self, back: int = 1) -> npt.NDArray[np.float32]:
        """The logits after the last evaluated token or the one `back` from the end, shape (vocabulary,).

        A view, valid until the next call.
        """
        pointer = llama_cpp.llama_get_logits_ith(self._context, -back)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab.size,))

    # --- the KV cache

    def held(self, sequence: int) -> int:
        """Number of tokens that the cache holds for a sequence."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def truncate(self, sequence: int, length: int) -> bool:
        """Drops what lies behind `length` tokens. False, and the sequence empty, if this memory cannot do that.

        Recurrent and hybrid models keep one state and no history: there is nothing to go back to.
        """
        if llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def share(self, sequence: int, other: int) -> None:
        """Another sequence, which held nothing, holds what the one does."""
        llama_cpp.llama_memory_seq_cp(self._memory, sequence, other, -1, -1)
